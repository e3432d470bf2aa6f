"""mmengine metrics: each process compares its videos, and what is kept of them is gathered.

Only statistics travel, no masks. Any split of the videos over processes gives the same numbers:
videos are known by their ids, and one that occurs twice, as padded samplers make it, counts once.
"""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.video_ap import Comparison, summarize
from videomt_bench.evaluation.video_stats import DIAGNOSTICS
from videomt_bench.evaluation.ytvis_files import Truth, read_truth


@dataclass(frozen=True)
class _Kept:
    """A result in a form that mmengine passes on as it is: it makes plain tuples of named ones."""

    video: Hashable
    statistics: Any


class PerVideoMetric(BaseMetric):
    """A metric from statistics that are computed for one finished video at a time.

    A subclass says what is kept of a video (``compare``) and what follows from all (``summarize``).

    Args:
        collect_device: "gpu" gathers with the process group of any backend, gloo on CPUs too;
            "cpu" through files, in ``collect_dir`` or else in a folder .dist_test that mmengine
            leaves in the current folder.
        prefix: of the metric names; None is that of the class.
        collect_dir: shared by all processes.
    """

    def __init__(
        self,
        collect_device: str = "gpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)

    @abstractmethod
    def compare(self, sample: Mapping[str, Any]) -> Any:
        """What is kept of the video of a sample; it must survive pickling."""

    @abstractmethod
    def summarize(self, videos: Mapping[Hashable, Any]) -> dict[str, float | None]:
        """The metrics, from what is kept of every video, by its id; None where nothing counts."""

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Compare finished videos, each a mapping with ``video_id`` and what ``compare`` needs."""
        known = {kept.video for kept in self.results}
        for sample in data_samples:
            if sample["video_id"] not in known:
                self.results.append(_Kept(sample["video_id"], self.compare(sample)))
                known.add(sample["video_id"])

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather and summarize; ``size`` is not used, since repeated videos go by their ids."""
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: list[_Kept]) -> dict[str, float]:
        """The metrics as mmengine logs them: nan where nothing counts."""
        values = self.summarize({kept.video: kept.statistics for kept in results})
        return {name: math.nan if value is None else value for name, value in values.items()}


@METRICS.register_module()
class VideoAP(PerVideoMetric):
    """Video AP, AR and the object diagnostics (see ``video_ap`` and ``recall``).

    A sample has ``video_id`` and ``predictions``, all those of the video.

    Args:
        truth: what the predictions are compared with, or the file that has it.
        kwargs: see :class:`PerVideoMetric`.

    Raises:
        BenchError: see :class:`Comparison`; when gathered, a video of the truth is missing.
    """

    default_prefix = "ytvis"

    def __init__(self, truth: Truth | Path | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = truth if isinstance(truth, Truth) else read_truth(Path(truth))
        self.comparison = Comparison(known)

    def compare(self, sample: Mapping[str, Any]) -> Any:
        """Match the predictions with the video's objects."""
        return self.comparison.compare(sample["video_id"], sample["predictions"])

    def summarize(self, videos: Mapping[Hashable, Any]) -> dict[str, float | None]:
        """All scores of ``video_ap.summarize`` and the diagnostics."""
        stats = self.comparison.stats(videos)  # type: ignore[arg-type]
        objects = summarize_objects(stats)
        return summarize(stats) | {name: objects[name] for name in DIAGNOSTICS}
