"""Whole videos through a model in memory that does not grow with their length.

What a task keeps of a video depends on its mean class logits, which are known only at its end.
Mask logits are held up to a budget; those of later frames are dropped and computed again from the
state that the stream had there, so every number is the one of holding them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from videomt_bench.data.augment import test_size
from videomt_bench.data.clips import load_video_frames, normalize
from videomt_bench.data.frames import FrameFiles
from videomt_bench.models import ClipOutput, VideoSegmenter, VideoState

Files = TypeVar("Files", bound=FrameFiles)

_OFF = {"affects_result": False}


@dataclass(frozen=True)
class InferenceSettings:
    """How videos are read and ranked.

    ``short_side`` None keeps the source size; frames are padded to multiples of ``divisor``.
    ``window`` frames enter at once, ``batch`` videos of one size and length run side by side, and
    ``buffer_mib`` of mask logits are held; none of the three changes a result. Instances are the
    ``top_k`` best; the thresholds are for panoptic segmentation.
    """

    short_side: int | None = 448
    max_size: int = 1333
    divisor: int = 32
    top_k: int = 10
    precision: str = "fp32"
    class_threshold: float = 0.8
    overlap_threshold: float = 0.8
    mask_threshold: float = 0.5
    window: int = field(default=3, metadata=_OFF)
    batch: int = field(default=1, metadata=_OFF)
    buffer_mib: int = field(default=2048, metadata=_OFF)


@dataclass
class VideoOutputs:
    """What a task sees of B videos of one shape."""

    class_logits: Tensor
    """(B, Q, C+1), the mean over the frames."""
    masks: Iterator[Tensor]
    """Mask logits (B, Q, h, w) of one frame after the other, on the CPU in float32."""
    padded: tuple[int, int]
    inner: tuple[int, int]
    """Input height and width with and without padding."""


def video_batches(videos: Sequence[Files], size: int) -> Iterator[list[Files]]:
    """Up to ``size`` videos of one height, width and length at a time."""

    def shape(video: FrameFiles) -> tuple[int, int, int]:
        return video.height, video.width, len(video.file_names)

    for _, same in groupby(sorted(videos, key=shape), key=shape):
        group = list(same)
        for start in range(0, len(group), size):
            yield group[start : start + size]


@torch.no_grad()
def run_videos(
    model: VideoSegmenter, videos: Sequence[FrameFiles], root: Path, settings: InferenceSettings
) -> VideoOutputs:
    """Run videos of one height, width and length through a model in evaluation mode.

    The masks must be read before the next call, and can be read once.
    """
    inner = network_size(videos[0], settings)
    length = len(videos[0].file_names)
    stream = _Stream(model, videos, root, settings, inner)
    budget = settings.buffer_mib * 2**20
    total: Tensor | None = None
    state: VideoState | None = None
    held: list[Tensor] = []
    dropped: tuple[int, VideoState | None] | None = None
    for start in range(0, length, settings.window):
        output, following = stream.window(start, state)
        logits = output.class_logits.float().sum(1)
        total = logits if total is None else total + logits
        masks = output.mask_logits.float().cpu()
        budget -= masks.nbytes
        if dropped is None and budget < 0:
            dropped = start, state
        if dropped is None:
            held.append(masks)
        state = following
    assert total is not None
    divisor = settings.divisor
    padded = (inner[0] + -inner[0] % divisor, inner[1] + -inner[1] % divisor)
    return VideoOutputs((total / length).cpu(), stream.masks(held, dropped), padded, inner)


def network_size(video: FrameFiles, settings: InferenceSettings) -> tuple[int, int]:
    """The size of a video's frames at the network's input, before padding."""
    if settings.short_side is None:
        return video.height, video.width
    return test_size(video.height, video.width, settings.short_side, settings.max_size)


def pad_to_multiple(frames: Tensor, divisor: int) -> Tensor:
    """Zero-pad frames (..., H, W) at the right and at the bottom."""
    height, width = frames.shape[-2:]
    return torch.nn.functional.pad(frames, (0, -width % divisor, 0, -height % divisor))


@dataclass
class _Stream:
    model: VideoSegmenter
    videos: Sequence[FrameFiles]
    root: Path
    settings: InferenceSettings
    size: tuple[int, int]

    def window(self, start: int, state: VideoState | None) -> tuple[ClipOutput, VideoState]:
        """Output and next state of the window that starts at a frame."""
        length = len(self.videos[0].file_names)
        indices = range(start, min(start + self.settings.window, length))
        clips = [
            normalize(load_video_frames(v, self.root, indices, self.size)) for v in self.videos
        ]
        device = next(self.model.parameters()).device
        frames = pad_to_multiple(torch.stack(clips), self.settings.divisor).to(device)
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.settings.precision)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return self.model(frames, state)

    def masks(
        self, held: list[Tensor], dropped: tuple[int, VideoState | None] | None
    ) -> Iterator[Tensor]:
        """Frame after frame: what was held, then what is computed again from a state."""
        while held:
            yield from held.pop(0).unbind(1)
        if dropped is None:
            return
        first, state = dropped
        for start in range(first, len(self.videos[0].file_names), self.settings.window):
            with torch.no_grad():
                output, state = self.window(start, state)
            yield from output.mask_logits.float().cpu().unbind(1)
