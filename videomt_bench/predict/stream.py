"""A model over an endless stream of frames: one state, one mean, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from videomt_bench.data.augment import test_size
from videomt_bench.data.clips import normalize
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stream import InferenceSettings, pad_to_multiple
from videomt_bench.models import ClipOutput, VideoSegmenter, VideoState
from videomt_bench.predict.running import RunningMean
from videomt_bench.predict.segments import FrameSegments, Geometry, Task
from videomt_bench.predict.source import SourceFrame


@dataclass
class Stream:
    """One video on its way through a model; frames are read, resized and padded as in evaluation.

    Args:
        model: in evaluation mode.
        task: makes segments; it serves this stream alone.
        settings: sizes, precision, and the window, which changes no result.
        horizon: of the class scores, see :class:`RunningMean`.
    """

    model: VideoSegmenter
    task: Task
    settings: InferenceSettings
    horizon: int | None = None
    whole: RunningMean = field(default_factory=RunningMean)
    """Class logits (Q, C+1), the mean over all frames until now."""
    tracks: list[int] | None = None
    """Number of the track in each slot, where slots are used again; -1 for none."""
    ended: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Best class and its probability of the numbered tracks that were shown and are over."""
    shown: set[int] = field(default_factory=set)
    """Numbers of the tracks that were shown and are not over."""

    def run(self, frames: Iterable[SourceFrame]) -> Iterator[tuple[SourceFrame, FrameSegments]]:
        """Each frame with its segments, in order.

        Raises:
            BenchError: a frame cannot be read, after all before it, or memory does not suffice.
        """
        recent = self.whole if self.horizon is None else RunningMean(self.horizon)
        state: VideoState | None = None
        for window in _windows(frames, self.settings.window):
            output, state, geometry = self._outputs(window, state)
            classes, masks = output.class_logits[0].float(), output.mask_logits[0].float()
            for t, (frame, logits, mask_logits) in enumerate(
                zip(window, classes, masks, strict=True)
            ):
                if output.tracks is not None:
                    self._follow(output.tracks[0, t], recent)
                self.whole.update(logits)
                if recent is not self.whole:
                    mean = recent.update(logits)
                else:
                    assert self.whole.mean is not None
                    mean = self.whole.mean.to(logits.dtype)
                with torch.no_grad():
                    segments = self.task.segments(mean, mask_logits, geometry, self.tracks)
                if self.tracks is not None:
                    self.shown |= {s.query for s in segments.segments if s.query is not None}
                yield frame, segments

    def _follow(self, numbers: Tensor, recent: RunningMean) -> None:
        """Begin anew in slots that hold other tracks than in the frame before."""
        new = numbers.tolist()
        if self.tracks is not None and self.tracks != new:
            assert self.whole.mean is not None
            scores, labels = self.whole.mean.softmax(-1)[:, :-1].max(-1)
            changed = numbers != torch.tensor(self.tracks, device=numbers.device)
            for slot in changed.nonzero()[:, 0].tolist():
                if (number := self.tracks[slot]) in self.shown:
                    self.shown.remove(number)
                    self.ended[number] = int(labels[slot]), float(scores[slot])
            for mean in (self.whole,) if recent is self.whole else (self.whole, recent):
                mean.restart(changed)
            self.task.restart(changed)
        self.tracks = new

    def _outputs(
        self, window: list[SourceFrame], state: VideoState | None
    ) -> tuple[ClipOutput, VideoState, Geometry]:
        """The output of one stream, the next state and the sizes."""
        size = window[0].pixels.shape[:2]
        inner = _network_size(size[0], size[1], self.settings)
        clip = torch.stack([normalize(_resized(frame.pixels, inner)) for frame in window])
        device = next(self.model.parameters()).device
        clip = pad_to_multiple(clip[None], self.settings.divisor).to(device)
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.settings.precision)
        try:
            with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype is not None):
                output, state = self.model(clip, state)
        except torch.OutOfMemoryError:
            raise BenchError(
                f"the memory of {device} does not suffice for {len(window)} frames of "
                f"{inner[0]} x {inner[1]} pixels; use a smaller --short-side or --window"
            ) from None
        padded = (clip.shape[-2], clip.shape[-1])
        return output, state, Geometry(padded, inner, (size[0], size[1]))


def _windows(frames: Iterable[SourceFrame], size: int) -> Iterator[list[SourceFrame]]:
    """Frames in groups; those read before an error come before it."""
    window: list[SourceFrame] = []
    try:
        for frame in frames:
            window.append(frame)
            if len(window) == size:
                yield window
                window = []
    except BenchError:
        if window:
            yield window
        raise
    if window:
        yield window


def _network_size(height: int, width: int, settings: InferenceSettings) -> tuple[int, int]:
    if settings.short_side is None:
        return height, width
    return test_size(height, width, settings.short_side, settings.max_size)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """uint8 (3, h, w), resized as evaluation does."""
    height, width = size
    if pixels.shape[:2] != size:
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.array(image)
    return torch.from_numpy(pixels).permute(2, 0, 1)
