"""mmengine metrics of panoptic and semantic video segmentation, from files of finished videos.

A process writes the predictions of a video, compares it, and what is kept of it is gathered; see
``mmengine_metric``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import METRICS

from videomt_bench.errors import BenchError, unknown
from videomt_bench.evaluation import panoptic, semantic
from videomt_bench.evaluation.mmengine_metric import PerVideoMetric
from videomt_bench.evaluation.panoptic_counts import PairCounter, count_video
from videomt_bench.evaluation.panoptic_files import (
    PngReader,
    read_panoptic_predictions,
    read_panoptic_truth,
)
from videomt_bench.evaluation.semantic_files import Faults, find_video, read_list


@METRICS.register_module()
class VideoPanoptic(PerVideoMetric):
    """VPQ and STQ (see ``panoptic.summarize``).

    A sample has ``video_id``, the video's name, and ``predictions``, a folder with ``pred.json``
    and ``pan_pred`` of that video alone, as ``writers.PanopticWriter`` leaves it.

    Args:
        truth_json: panoptic_gt_VIPSeg_val.json or a file like it.
        truth_dir: its PNGs.
        kwargs: see :class:`PerVideoMetric`.

    Raises:
        BenchError: see ``panoptic.score_vipseg``; when gathered, a video of the truth is missing.
    """

    default_prefix = "vipseg"

    def __init__(self, truth_json: Path | str, truth_dir: Path | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.truth_dir = Path(truth_dir)
        self.truth = read_panoptic_truth(Path(truth_json), self.truth_dir)
        self.counter = PairCounter()

    def compare(self, sample: Mapping[str, Any]) -> Any:
        """Count the pixels of one video and match its tubes."""
        name, folder = str(sample["video_id"]), Path(sample["predictions"])
        if name not in self.truth.videos:
            raise unknown("video", name, self.truth.videos)
        faults, frames = Faults(lenient=False), self.truth.videos[name]
        alone = replace(self.truth, videos={name: frames})
        found = read_panoptic_predictions(folder, alone, faults)[name]
        readers = PngReader(self.truth_dir), PngReader(folder / "pan_pred")
        predicted = [found.get(frame) for frame in frames]
        counts = count_video(self.counter, list(frames.values()), predicted, readers, faults)
        return panoptic.score_video(self.truth, name, counts, np.array(self.truth.is_thing))

    def summarize(self, videos: Mapping[Hashable, Any]) -> dict[str, float | None]:
        """All metrics of ``panoptic.summarize``."""
        _check_complete(self.truth.videos, videos)
        ordered = [videos[name] for name in sorted(self.truth.videos)]
        return panoptic.summarize(panoptic.collect(self.truth, ordered))


@METRICS.register_module()
class VideoSemantic(PerVideoMetric):
    """mIoU and mVC (see ``semantic.summarize``).

    A sample has ``video_id``, the video's name, and ``predictions``, the folder that has the folder
    of its PNGs.

    Args:
        truth_root: with ``data`` and the list of the split.
        split: which list.
        kwargs: see :class:`PerVideoMetric`.

    Raises:
        BenchError: see ``semantic.score_vspw``; when gathered, a video of the list is missing.
    """

    default_prefix = "vspw"

    def __init__(self, truth_root: Path | str, split: str = "val", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.truth_root = Path(truth_root)
        names = read_list(self.truth_root / f"{split}.txt", Faults(lenient=False))
        self.videos = dict.fromkeys(names)

    def compare(self, sample: Mapping[str, Any]) -> Any:
        """Count the pixels of one video."""
        name, faults = str(sample["video_id"]), Faults(lenient=False)
        if name not in self.videos:
            raise unknown("video", name, self.videos)
        files = find_video(self.truth_root, Path(sample["predictions"]), name, faults)
        return semantic.score_video(files, faults)

    def summarize(self, videos: Mapping[Hashable, Any]) -> dict[str, float | None]:
        """All metrics of ``semantic.summarize``."""
        _check_complete(self.videos, videos)
        return semantic.summarize(semantic.collect(list(videos.values())))


def _check_complete(wanted: Mapping[str, Any], found: Mapping[Hashable, Any]) -> None:
    if missing := [name for name in wanted if name not in found]:
        raise BenchError(f"{len(missing)} videos have no predictions; the first is {missing[0]!r}")
