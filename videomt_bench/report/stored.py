"""What the stored per-video statistics of runs say: metrics on draws of videos, and p-values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.report.cache import Cache, Key
from videomt_bench.report.records import stamp
from videomt_bench.report.statistics.estimates import (
    DRAWS,
    RNG_SEED,
    Samples,
    all_but_one,
    video_draws,
)
from videomt_bench.report.statistics.permutation import SWAPS, swap_test
from videomt_bench.report.statistics.resampling import Resampler, Scores, load_resampler
from videomt_bench.runs.record import Record

NONE_STORED = "it stores no per-video statistics"


@dataclass(frozen=True, eq=False)
class Drawn:
    """The metrics of a run in percent: on all V test videos, on all but one, on draws of them."""

    videos: int
    truth: str
    """Equal for runs that can be compared video by video."""
    lines: Scores
    """Metric -> (1 + V + D,): on all videos, without each of them, on each draw; NaN where it is
    undefined."""

    def whole(self, metric: str) -> float:
        """A metric on all videos."""
        return float(self.lines[metric][0])

    def without_one(self, metric: str) -> Samples:
        """(V,)"""
        return self.lines[metric][1 : 1 + self.videos]

    def draws(self, metric: str) -> Samples:
        """(D,)"""
        return self.lines[metric][1 + self.videos :]


class StoredRuns:
    """The statistics beside the records of a results folder; nothing is computed twice.

    Args:
        results: the folder that holds ``records``.
        draws: of the bootstrap.
        swaps: of the permutation test.
        cache: what earlier reports computed.
    """

    def __init__(
        self, results: Path, draws: int = DRAWS, swaps: int = SWAPS, cache: Cache | None = None
    ) -> None:
        self._folder = (results / "records").resolve()
        self._draws, self._swaps = draws, swaps
        self._cache = cache or Cache(None)
        self._drawn: dict[str, Drawn] = {}
        self._loaded: dict[str, Resampler] = {}
        self._p_values: dict[Key, dict[str, float]] = {}

    def path(self, record: Record) -> Path:
        """The file of a record's statistics.

        Raises:
            BenchError: the record names none, or one outside the folder of records.
        """
        if record.video_stats is None:
            raise BenchError(NONE_STORED)
        path = (self._folder / str(record.video_stats)).resolve()
        if not path.is_relative_to(self._folder):
            raise BenchError(f"its video_stats {record.video_stats!r} leaves the folder of records")
        return path

    def resampler(self, record: Record) -> Resampler:
        """The statistics of a run.

        Raises:
            BenchError: there are none, or they are damaged.
        """
        if record.run_id not in self._loaded:
            path = self.path(record)
            try:
                self._loaded[record.run_id] = load_resampler(path)
            except BenchError as error:
                raise BenchError(str(error).replace(str(path), path.name)) from None
        return self._loaded[record.run_id]

    def drawn(self, record: Record) -> Drawn:
        """The metrics of a run on all videos and on each draw.

        Raises:
            BenchError: there are no statistics, or they are damaged.
        """
        if record.run_id not in self._drawn:
            key = self._key("draws", [record], self._draws)
            found = self._cache.scores(key, self._draws)
            if found is None:
                found = self._draw(record)
                self._cache.keep_scores(key, *found)
            self._drawn[record.run_id] = Drawn(*found)
        return self._drawn[record.run_id]

    def _draw(self, record: Record) -> tuple[int, str, Scores]:
        run = self.resampler(record)
        videos = len(run.videos)
        every = np.ones(videos, np.int64)
        times = np.vstack([every, all_but_one(videos), video_draws(videos, self._draws)])
        truth = hashlib.sha256(repr(run.videos).encode() + run.truth).hexdigest()
        return videos, truth, run.scores(times)

    def p_values(self, a: Sequence[Record], b: Sequence[Record]) -> dict[str, float]:
        """P of every metric that runs ``a`` and ``b`` differ, seed by seed; see ``permutation``.

        Raises:
            BenchError: statistics that are missing, damaged, or of other videos.
        """
        key = self._key("swaps", [*a, *b], self._swaps)
        if key not in self._p_values:
            found = self._cache.p_values(key)
            if found is None:
                one, other = ([self.resampler(record) for record in side] for side in (a, b))
                found = swap_test(one, other, self._swaps)
                self._cache.keep_p_values(key, found)
            self._p_values[key] = found
        return self._p_values[key]

    def _key(self, kind: str, records: Sequence[Record], count: int) -> Key:
        return (kind, str(count), str(RNG_SEED), *(stamp(self.path(r)) for r in records))
