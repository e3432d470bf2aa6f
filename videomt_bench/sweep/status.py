"""Where every run of a sweep is: from the files first, from SLURM where it answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from videomt_bench.runs.claim import STALE
from videomt_bench.runs.record import Record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep import slurm
from videomt_bench.sweep.experiment import Experiment
from videomt_bench.sweep.fate import Jobs, by_owner, first_undone, look_up, settle
from videomt_bench.sweep.ledger import Job, Ledger
from videomt_bench.sweep.tasks import BROKEN

LOG_LINES = 5
SETTLED = 5.0
"""Seconds after which a node has surely let go of a job that was queued again. Started on it any
sooner, SLURM may take the job for the one that it has just ended, and revoke it."""


@dataclass
class Row:
    """One run. ``stages`` maps each to done, running, waiting, failed, planned or blocked."""

    run_id: str
    state: str
    stages: dict[str, str]
    stage: str | None = None
    """What it does at the moment, ``step`` of ``total``."""
    step: int | None = None
    total: int | None = None
    eta_seconds: float | None = None
    """Of this stage; None where nothing is known."""
    metric: str = ""
    """The last loss, or the scores."""
    node: str = ""
    job: str = ""
    reason: str | None = None
    log: list[str] = field(default_factory=list)
    """The last lines of the log, where it failed."""


@dataclass
class Status:
    """All runs; ``slurm`` says whether SLURM answered, or None where no job was in question."""

    rows: list[Row]
    slurm: bool | None

    def to_json(self) -> dict[str, Any]:
        """The status as JSON values."""
        return {"runs": [asdict(row) for row in self.rows], "slurm": self.slurm}

    def counts(self) -> dict[str, int]:
        """State -> how many runs."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.state] = found.get(row.state, 0) + 1
        return found


def status(experiment: Experiment, results: Path) -> Status:
    """Look at every run, and write the reason into the records of those that were lost.

    Asks ``squeue`` and ``sacct`` once each at most.

    Raises:
        BenchError: a record or a submission cannot be read.
    """
    store, ledger, specs = Store(results), Ledger(results), experiment.runs()
    jobs = look_up(ledger, specs, store)
    records = settle(specs, store, jobs, ledger)
    live = jobs.live()
    owned = by_owner(jobs)
    segmenters: dict[str, bool] = {}
    for spec in specs:
        name = spec.segmenter_stage
        if name not in segmenters:
            segmenters[name] = store.stage(name).done("segmenter") is not None
    rows = [
        _row(spec, records[spec.run_id], store, jobs, live, segmenters, ledger, owned)
        for spec in specs
    ]
    _hasten(rows, jobs, records)
    return Status(rows, jobs.answers if jobs.all else None)


def _row(
    spec: RunSpec,
    record: Record,
    store: Store,
    jobs: Jobs,
    live: Mapping[tuple[str, str], Job],
    segmenters: Mapping[str, bool],
    ledger: Ledger,
    owned: Mapping[str, Sequence[Job]],
) -> Row:
    segmenter = spec.segmenter_stage
    row = Row(spec.run_id, record.state, {}, reason=record.reason, metric=_scores(record))
    for name in spec.stage_names:
        owner = segmenter if name == "segmenter" else spec.run_id
        job = live.get((owner, name))
        if name in record.stages or (name == "segmenter" and segmenters[segmenter]):
            row.stages[name] = "done"
        elif job is not None:
            begun = jobs.states[job.id].state == "RUNNING" and "running" not in row.stages.values()
            row.stages[name] = "running" if begun else "waiting"
            _in_the_queue(row, job, jobs)
        else:
            row.stages[name] = "planned"
    if record.state == "completed":
        return row
    if not row.job:
        _without_a_job(row, record, store)
    _progress(row, store, segmenter)
    if row.state in (*BROKEN, "preempted"):
        own = [*owned.get(segmenter, ()), *owned.get(spec.run_id, ())]
        job = first_undone(record, own, segmenters[segmenter])
        row.job = "" if job is None else job.id
        row.log = [] if job is None else ledger.log(job.id, LOG_LINES)
    return row


def _in_the_queue(row: Row, job: Job, jobs: Jobs) -> None:
    """What the first unfinished job of a run says; it is newer than the record."""
    if row.job:
        return
    state = jobs.states[job.id]
    row.job, row.node = job.id, state.node
    row.state = "running" if state.state == "RUNNING" else "waiting"
    if row.state == "running":
        row.reason = None
    elif state.detail not in ("", "None"):
        before = f", before: {row.reason}" if row.reason else ""
        row.reason = f"waits for {state.detail}{before}"


def _without_a_job(row: Row, record: Record, store: Store) -> None:
    """A run outside of the queue: it works on a machine, or it failed, or nobody has begun it."""
    first = next((name for name, state in row.stages.items() if state != "done"), None)
    if first is None:
        return
    if record.state == "running":
        folder = store.stage(row.run_id)
        if folder.is_owned():
            row.stages[first] = "running"
        else:
            row.stages[first], row.state = "failed", "failed"
            row.reason = "nothing works on it any more; `sweep run` continues it"
    elif record.state in (*BROKEN, "preempted"):
        row.stages[first] = "failed"
        later = list(row.stages)[list(row.stages).index(first) + 1 :]
        for name in later:
            row.stages[name] = "blocked" if row.stages[name] == "planned" else row.stages[name]


def _progress(row: Row, store: Store, segmenter: str) -> None:
    """Step, loss and time left, of the run or of the segmenter that it waits for."""
    owner = row.run_id if row.stages["segmenter"] == "done" else segmenter
    found = store.stage(owner).progress()
    if found is None:
        return
    row.stage, row.step, row.total = found["stage"], found["step"], found["total"]
    loss = found.get("losses", {}).get("loss")
    if loss is not None and not row.metric:
        row.metric = f"loss {loss:.3f}"
    if row.stages.get(found["stage"]) != "running":
        return
    row.node = row.node or found.get("node", "")
    age = max(0.0, time.time() - found["updated"])
    if found.get("rate"):
        left = (found["total"] - found["step"]) / found["rate"]
        row.eta_seconds = max(0.0, left - age)
    if age > 10 * STALE:
        row.reason = f"no sign of life for {age / 60:.0f} minutes"


def _scores(record: Record) -> str:
    """The first metrics of a run, in percent."""
    shown = [
        f"{name} {100 * metric.value:.1f}"
        for name, metric in record.metrics.items()
        if metric.value is not None and metric.unit == "fraction"
    ]
    return " ".join(shown[:1])


def _hasten(rows: Sequence[Row], jobs: Jobs, records: Mapping[str, Record]) -> None:
    """Requeued jobs that wait only because SLURM lets them wait for two minutes."""
    waiting = [
        row.job
        for row in rows
        if row.state == "waiting"
        and jobs.states[row.job].detail == "BeginTime"
        and row.reason is not None
        and "queued again" in row.reason
        and _seconds_since(records[row.run_id].updated) > SETTLED
    ]
    if waiting:
        slurm.hasten(sorted(set(waiting)))


def _seconds_since(moment: str) -> float:
    """Of a record's time, until now."""
    return (datetime.now(timezone.utc) - datetime.fromisoformat(moment)).total_seconds()
