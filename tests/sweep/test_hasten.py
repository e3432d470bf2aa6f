"""Jobs that were queued again start early, but not before their node has let go of them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from videomt_bench.runs.record import Record
from videomt_bench.sweep import slurm, status
from videomt_bench.sweep.slurm import JobState


@pytest.mark.parametrize(
    ("seconds", "detail", "reason", "early"),
    [
        (8, "BeginTime", "received SIGUSR2; queued again (1 of 20)", ["7"]),
        (1, "BeginTime", "received SIGUSR2; queued again (1 of 20)", []),
        (8, "Resources", "received SIGUSR2; queued again (1 of 20)", []),
        (8, "BeginTime", "the user wants it later", []),
    ],
)
def test_which_jobs_start_early(
    seconds: int, detail: str, reason: str, early: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    record = Record("a", {}, "preempted", reason, updated=moment.isoformat(timespec="seconds"))
    row = status.Row("a", "waiting", {}, job="7", reason=reason)
    jobs = SimpleNamespace(states={"7": JobState("PENDING", detail, "")})
    hastened: list[str] = []
    monkeypatch.setattr(slurm, "hasten", hastened.extend)
    status._hasten([row], jobs, {"a": record})  # type: ignore[arg-type]
    assert hastened == early
