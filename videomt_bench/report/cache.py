"""What earlier reports read and computed, so that a report of the same records is quick.

A cache saves time and changes nothing: an entry is known by the name, size and time of change of
the files it comes from, is checked like the files themselves, and what does not fit is not used.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stats_files import load_arrays, save_arrays
from videomt_bench.files import replacing, write_json
from videomt_bench.report.statistics.resampling import Scores

VERSION = 1
"""Counts up when the same files give other numbers."""
FOLDER = ".report-cache"

Key = tuple[str, ...]


class Cache:
    """A folder of entries, none of which is needed; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._used: set[str] = set()

    def scores(self, key: Key, draws: int) -> tuple[int, str, Scores] | None:
        """Videos, truth and metrics of a run as ``stored`` has them; None if not kept."""
        if (path := self._path(key, "npz")) is None or not path.is_file():
            return None
        try:
            kept = load_arrays(path, VERSION, ("videos", "truth", "names", "values"), "draws")
            values, videos = kept["values"], int(kept["videos"])
            names = [str(name) for name in kept["names"]]
            shape = (len(names), 1 + videos + draws)
            if videos < 1 or values.dtype != np.float64 or values.shape != shape:
                return None
            return videos, str(kept["truth"]), dict(zip(names, values, strict=True))
        except (BenchError, ValueError, TypeError):
            return None

    def keep_scores(self, key: Key, videos: int, truth: str, scores: Scores) -> None:
        """Keep what a run gave."""
        if path := self._path(key, "npz"):
            arrays = {
                "videos": np.array(videos),
                "truth": np.array(truth),
                "names": np.array(list(scores)),
                "values": np.array(list(scores.values())),
            }
            self._mark()
            save_arrays(path, VERSION, arrays)

    def p_values(self, key: Key) -> dict[str, float] | None:
        """P by metric; None if not kept."""
        found = self._read(self._path(key, "json"))
        if not isinstance(found, dict) or not all(_is_share(p) for p in found.values()):
            return None
        return found

    def keep_p_values(self, key: Key, p_values: dict[str, float]) -> None:
        """Keep the result of a test."""
        if path := self._path(key, "json"):
            self._mark()
            write_json(path, p_values)

    def records(self) -> dict[str, tuple[str, Any]]:
        """File name -> its stamp and content, of the records that were read before."""
        path = self._folder / "records.json" if self._folder else None
        found = self._read(path)
        if not isinstance(found, dict) or found.get("version") != VERSION:
            return {}
        entries = found.get("records")
        if not isinstance(entries, dict):
            return {}
        return {n: (e[0], e[1]) for n, e in entries.items() if isinstance(e, list) and len(e) == 2}

    def keep_records(self, records: dict[str, tuple[str, Any]]) -> None:
        """Keep the records that were read."""
        if self._folder:
            self._mark()
            text = json.dumps({"version": VERSION, "records": records})
            with replacing(self._folder / "records.json") as file:
                file.write(text.encode())

    def forget_the_rest(self) -> None:
        """Remove the entries that were neither used nor made."""
        for path in self._folder.glob("*.*") if self._folder else ():
            if path.name not in {"records.json", *self._used}:
                path.unlink(missing_ok=True)

    def _path(self, key: Key, extension: str) -> Path | None:
        if self._folder is None:
            return None
        name = hashlib.sha256(json.dumps([VERSION, np.__version__, *key]).encode()).hexdigest()
        self._used.add(f"{name[:32]}.{extension}")
        return self._folder / f"{name[:32]}.{extension}"

    def _read(self, path: Path | None) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path else None
        except (OSError, ValueError, RecursionError):
            return None

    def _mark(self) -> None:
        """Keep the folders of all reports out of version control."""
        if self._folder and not (ignore := self._folder.parent / ".gitignore").is_file():
            with replacing(ignore) as file:
                file.write(b"*\n")


def _is_share(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and 0 <= value <= 1
