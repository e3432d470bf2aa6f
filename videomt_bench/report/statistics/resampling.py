"""The metrics of a run on many multisets of its test videos at once, from stored statistics."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from videomt_bench.errors import BenchError
from videomt_bench.report.statistics.estimates import Samples, Times

CHUNK = 500
"""Draws that are computed at once."""

Table = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64]
Scores = dict[str, Samples]
"""Metric -> (D,) values in percent; NaN where it is undefined."""


class Resampler(Protocol):
    """What is kept of the V test videos of one run, or of several runs side by side."""

    @property
    def videos(self) -> tuple[str, ...]:
        """The names of the videos, in their order."""

    @property
    def truth(self) -> bytes:
        """Equal for runs that were scored against the same truth."""

    def scores(self, times: Times) -> Scores:
        """The metrics on multisets of videos; ``times`` is (D, V)."""

    def beside(self, other: Resampler) -> Resampler:
        """The videos of this run, then those of the other, of the same kind: 2 V in all."""


@dataclass(frozen=True, eq=False)
class Ratios:
    """Metrics that are a function of sums over videos."""

    videos: tuple[str, ...]
    table: Table
    """(V, K) what is added up."""
    summarize: Callable[[Table], Scores]
    """From (D, K) sums to the metrics."""
    truth: bytes

    def scores(self, times: Times) -> Scores:
        """See :class:`Resampler`."""
        return chunked(lambda part: self.summarize(part @ self.table), times.astype(np.float64))

    def beside(self, other: Resampler) -> Ratios:
        """See :class:`Resampler`."""
        assert isinstance(other, Ratios)
        table = np.concatenate([self.table, other.table])
        return Ratios(self.videos + other.videos, table, self.summarize, self.truth)


def chunked(scores: Callable[[Any], Scores], times: Numbers, at_once: int | None = None) -> Scores:
    """``scores`` of some draws after the other: memory does not grow with their number."""
    step = at_once or CHUNK
    parts = [scores(times[i : i + step]) for i in range(0, len(times), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def mean_where(values: Table, counted: npt.NDArray[np.bool_]) -> Samples:
    """(D,) means of (D, N) over the columns that count in a draw; NaN where none does."""
    return ratio(np.where(counted, values, 0.0).sum(1), counted.sum(1))


def ratio(sums: Numbers, counts: Numbers) -> Samples:
    """Quotients, NaN where the count is 0."""
    defined = counts > 0
    return np.where(defined, sums / np.where(defined, counts, 1), np.nan)


def load_resampler(path: Path) -> Resampler:
    """Read the statistics of a run, of whatever task.

    Raises:
        BenchError: unreadable, damaged or of another schema.
    """
    names = _array_names(path)
    if "window_sums" in names:
        from videomt_bench.evaluation.semantic_stats import SemanticStats
        from videomt_bench.report.statistics.resample_dense import semantic_resampler

        return semantic_resampler(SemanticStats.load(path))
    if "association" in names:
        from videomt_bench.evaluation.panoptic_stats import PanopticStats
        from videomt_bench.report.statistics.resample_dense import panoptic_resampler

        return panoptic_resampler(PanopticStats.load(path))
    from videomt_bench.evaluation.video_stats import VideoStats
    from videomt_bench.report.statistics.resample_ap import InstanceResampler

    return InstanceResampler(VideoStats.load(path))


def _array_names(path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise BenchError(f"{path} is not a file of statistics, or damaged") from None
