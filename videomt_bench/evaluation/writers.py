"""Dense predictions as files, in the layouts that the benchmarks' scorers and servers read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from videomt_bench.evaluation.panoptic_inference import PanopticVideo
from videomt_bench.files import replacing, write_json


@dataclass
class PanopticWriter:
    """``pan_pred/<video>/<frame>.png`` with id = R + 256 G + 65536 B, and ``pred.json``.

    Args:
        folder: made if need be.
        categories: class index -> data set category id.
    """

    folder: Path
    categories: Sequence[int]
    entries: list[dict[str, Any]] = field(default_factory=list)

    def write(self, video: str, file_names: Sequence[str], segmented: PanopticVideo) -> None:
        """Write the frames of one video; ``file_names`` are those of its images."""
        frames = []
        for name, ids in zip(file_names, segmented.frames, strict=True):
            file = self.folder / "pan_pred" / video / f"{PurePosixPath(name).stem}.png"
            _save(file, np.stack([ids & 255, ids >> 8, ids * 0], -1).astype(np.uint8))
            segments = list(_segments(ids, segmented.labels, self.categories))
            frames.append({"file_name": PurePosixPath(name).name, "segments_info": segments})
        self.entries.append({"video_id": video, "annotations": frames})

    def finish(self) -> Path:
        """Write ``pred.json``, after the last video."""
        path = self.folder / "pred.json"
        write_json(path, {"annotations": self.entries})
        return path


@dataclass
class SemanticWriter:
    """``<video>/<frame>.png``, one channel, value = data set class.

    Args:
        folder: made if need be.
        categories: class index -> data set class.
    """

    folder: Path
    categories: Sequence[int]

    def write(self, video: str, file_names: Sequence[str], maps: Iterator[np.ndarray]) -> None:
        """Write the frames of one video; ``file_names`` are those of its images."""
        table = np.array(self.categories, np.uint8)
        for name, classes in zip(file_names, maps, strict=True):
            file = self.folder / video / f"{PurePosixPath(name).stem}.png"
            _save(file, table[classes])


def _segments(
    ids: np.ndarray, labels: Mapping[int, int], categories: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The segments with pixels in a frame; boxes are x, y, width, height."""
    for segment in np.unique(ids).tolist():
        if segment == 0:
            continue
        rows, columns = np.nonzero(ids == segment)
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
        yield {
            "id": segment,
            "category_id": categories[labels[segment]],
            "iscrowd": 0,
            "area": len(rows),
            "bbox": box,
        }


def _save(file: Path, pixels: np.ndarray) -> None:
    with replacing(file) as target:
        Image.fromarray(pixels).save(target, format="PNG", compress_level=1)
