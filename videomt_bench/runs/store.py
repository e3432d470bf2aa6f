"""The store: records, stage folders and progress as files. The files are the truth."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError
from videomt_bench.files import replacing, write_json
from videomt_bench.runs.claim import is_alive
from videomt_bench.runs.record import Record, StageResult, read_record

Listener = Callable[[int, int], None]

RESERVE = ".reserve"
RESERVED = 1 << 18
"""Bytes put aside while a run works, so that its failure can be written on a full disk."""


class Store:
    """A results folder: ``records/`` to keep, ``work/`` with checkpoints and logs.

    Args:
        root: the folder, made when first written to.
        listener: also receives (step, total) of every progress that a stage reports.
    """

    def __init__(self, root: Path, listener: Listener | None = None) -> None:
        self.root = root
        self.listener = listener

    def record_path(self, run_id: str) -> Path:
        """The record of a run."""
        return self.root / "records" / f"{run_id}.json"

    def stats_path(self, run_id: str) -> Path:
        """The per-video statistics of a run, beside its record."""
        return self.root / "records" / f"{run_id}.npz"

    def stage(self, stage_id: str) -> StageFolder:
        """The work folder of a training stage or of a run."""
        return StageFolder(self.root / "work" / stage_id, self.listener)

    def load(self, run_id: str) -> Record | None:
        """The record of a run, or None when there is none."""
        path = self.record_path(run_id)
        return read_record(path) if path.is_file() else None

    def save(self, record: Record) -> None:
        """Replace a record in one step."""
        record.updated = now()
        record.created = record.created or record.updated
        write_json(self.record_path(record.run_id), record.to_json())

    def save_failure(self, record: Record) -> None:
        """Replace a record even where the disk is full, with the room that was put aside.

        Raises:
            BenchError: not even so.
        """
        self.stage(record.run_id).free_reserve()
        self.save(record)

    def check_writable(self) -> None:
        """Find out before any work whether results can be kept.

        Raises:
            BenchError: the folder cannot be made or written.
        """
        probe = self.root / ".writable"
        write_json(probe, {})
        probe.unlink(missing_ok=True)


class StageFolder:
    """Files of one stage.

    ``<stage>.json`` once it is done, ``progress.json`` while it runs, ``failed.json`` with the
    reason of a segmenter that did not get done.
    """

    def __init__(self, path: Path, listener: Listener | None = None) -> None:
        self.path = path
        self.listener = listener
        self.model = path / "model.pth"
        self._first: tuple[str, int, float] | None = None

    def done(self, name: str) -> StageResult | None:
        """The result of a finished stage."""
        data = _read_json(self.path / f"{name}.json")
        return StageResult(**data) if data is not None else None

    def finish(self, name: str, result: StageResult) -> None:
        """Mark a stage as done."""
        write_json(self.path / f"{name}.json", vars(result))

    def fail(self, reason: str) -> None:
        """Say why a stage that several runs share is not done."""
        write_json(self.path / "failed.json", {"reason": reason})

    def failed(self) -> str | None:
        """Why the stage is not done, if it said so."""
        data = _read_json(self.path / "failed.json")
        return None if data is None else data["reason"]

    def is_owned(self) -> bool:
        """Whether a process works in the folder, as far as can be seen from here."""
        return is_alive(self.path)

    def remove(self) -> None:
        """Remove everything that was done."""
        shutil.rmtree(self.path, ignore_errors=True)

    def put_reserve_aside(self) -> None:
        """Take some room on the disk, for a record that says the disk is full."""
        with replacing(self.path / RESERVE) as file:
            file.write(b"0" * RESERVED)

    def free_reserve(self) -> None:
        """Give the room back."""
        (self.path / RESERVE).unlink(missing_ok=True)

    def progress(self) -> dict[str, Any] | None:
        """What the stage last said of itself.

        ``stage``, ``step``, ``total``, ``losses``, ``updated`` (seconds since 1970), ``node``, and
        the ``rate`` in steps per second since the process began, or None.
        """
        return _read_json(self.path / "progress.json")

    def report(self, stage: str, step: int, total: int, losses: dict[str, float]) -> None:
        """Say how far the stage is."""
        now = time.time()
        if self._first is None or self._first[0] != stage:
            self._first = (stage, step, now)
        steps, seconds = step - self._first[1], now - self._first[2]
        state = {
            "stage": stage,
            "step": step,
            "total": total,
            "losses": losses,
            "updated": now,
            "node": socket.gethostname(),
            "rate": steps / seconds if steps > 0 and seconds > 0 else None,
        }
        write_json(self.path / "progress.json", state)
        if self.listener is not None:
            self.listener(step, total)


def now() -> str:
    """The time in UTC, to the second, in ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot read {path}: {error}") from None
