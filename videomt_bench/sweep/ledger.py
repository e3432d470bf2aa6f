"""What was submitted, by whom and with which parameters: one file per job array.

Everybody who sees the results folder can find the jobs of a run; several launches never write the
same file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError
from videomt_bench.files import write_json


@dataclass(frozen=True)
class Array:
    """A job array, or a single job where there is one task only.

    ``given`` is what the user asked of SLURM, ``parameters`` what submitit was told.
    ``job_ids`` belong to the ``tasks``, which are (run id, stage id).
    """

    experiment: str
    stage_names: tuple[str, ...]
    job_ids: tuple[str, ...]
    tasks: tuple[tuple[str, str], ...]
    given: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    submitted: str = ""


@dataclass(frozen=True)
class Job:
    """One task of an array."""

    id: str
    run_id: str
    stage_id: str
    stage_names: tuple[str, ...]


class Ledger:
    """The submissions of a results folder, oldest first."""

    def __init__(self, results: Path) -> None:
        self.folder = results / "work" / "submitted"
        self.logs = results / "work" / "jobs"

    def add(self, array: Array) -> None:
        """Keep a submission."""
        write_json(self._file(array), asdict(array))

    def remove(self, array: Array) -> None:
        """Forget a submission that was taken back."""
        self._file(array).unlink(missing_ok=True)

    def _file(self, array: Array) -> Path:
        stamp = array.submitted.partition("+")[0].replace(":", "")
        return self.folder / f"{stamp}-{int(array.job_ids[0].partition('_')[0]):010d}.json"

    def arrays(self) -> list[Array]:
        """All submissions.

        Raises:
            BenchError: a file of them is damaged.
        """
        found = []
        for file in sorted(self.folder.glob("*.json")):
            try:
                data = json.loads(file.read_text(encoding="utf-8"))
                tasks = tuple((run, stage) for run, stage in data.pop("tasks"))
                names, ids = tuple(data.pop("stage_names")), tuple(data.pop("job_ids"))
                found.append(Array(**data, tasks=tasks, stage_names=names, job_ids=ids))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise BenchError(f"cannot read the submission {file}: {error}") from None
        return found

    def jobs(self, runs: Sequence[str] | None = None) -> list[Job]:
        """The jobs of some runs, or of all, in the order of their submission."""
        wanted = None if runs is None else set(runs)
        return [
            Job(job_id, run_id, stage_id, array.stage_names)
            for array in self.arrays()
            for job_id, (run_id, stage_id) in zip(array.job_ids, array.tasks, strict=True)
            if wanted is None or run_id in wanted
        ]

    def log(self, job_id: str, lines: int = 5) -> list[str]:
        """The last lines that the first process of a job wrote to its error log."""
        file = self.logs / f"{job_id}_0_log.err"
        try:
            with file.open("rb") as stream:
                stream.seek(max(0, file.stat().st_size - 8192))
                text = stream.read().decode(errors="replace")
        except OSError:
            return []
        kept = [line.strip() for line in text.splitlines() if line.strip()]
        return [line[:300] for line in kept[-lines:]]
