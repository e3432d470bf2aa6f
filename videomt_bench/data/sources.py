"""What a data set must offer so that training clips can be drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from videomt_bench.data.classes import Category
from videomt_bench.data.frames import FrameFiles

VideoT = TypeVar("VideoT", bound=FrameFiles)


@dataclass(frozen=True)
class Objects:
    """The N objects of T frames of H x W pixels."""

    labels: np.ndarray
    """int64 (N,), contiguous class indices."""
    regions: np.ndarray
    """bool (N, T, H, W), one mask each; or, where objects cannot overlap, integers (1, T, H, W):
    0 for nothing, k for the k-th object, counted from 1."""
    annotated: np.ndarray
    """bool (N, T): whether the file has the object in the frame."""


class ClipSource(Protocol[VideoT]):
    """A data set read: videos, and the objects of any of their frames. Images count as videos of
    one frame."""

    @property
    def path(self) -> Path:
        """The file that names the videos."""

    @property
    def frames_root(self) -> Path:
        """The folder of the frames."""

    @property
    def categories(self) -> Sequence[Category]:
        """Position = contiguous class index."""

    @property
    def videos(self) -> Sequence[VideoT]:
        """All videos of the split."""

    def has_objects(self, video: VideoT) -> bool:
        """Whether any frame has an object to train on, as far as is known without decoding."""

    def load_objects(self, video: VideoT, indices: Sequence[int] | np.ndarray) -> Objects:
        """Decode the objects that occur in some frames of a video."""
