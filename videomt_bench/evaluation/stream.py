"""Whole videos through a model in memory that does not grow with their length.

What a task keeps of a video depends on its mean class logits, which are known only at its end. So
what masks are made of is held until then, up to a budget; that of later frames is dropped and
computed again from the state that the stream had there, and every number is the one of holding it
all. Where nothing else needs masks, only those of the queries that a task keeps are ever made.

A model with a refiner keeps its tracks, a vector per query and frame, until the end of the video,
and is refined there; what grows with the video is no larger than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from videomt_bench.data.augment import test_size
from videomt_bench.data.clips import load_video_frames, normalize
from videomt_bench.data.frames import FrameFiles
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.tracks import Logits, Means, masks_of, means
from videomt_bench.models import ClipOutput, DefersMasks, VideoSegmenter, VideoState
from videomt_bench.models.compiling import CompiledVideo
from videomt_bench.models.looking_ahead import LookingAhead
from videomt_bench.models.refiner import Refined, TemporalRefiner

Files = TypeVar("Files", bound=FrameFiles)

_OFF = {"affects_result": False}


@dataclass(frozen=True)
class InferenceSettings:
    """How videos are read and ranked.

    ``short_side`` None keeps the source size; frames are padded to multiples of ``divisor``.
    ``window`` frames enter at once, ``batch`` videos of one size and length run side by side,
    ``buffer_mib`` of memory of the device hold what masks are made of, and ``compile`` is a mode of
    ``torch.compile``; none of the four changes a result. A ``look_ahead`` of some frames makes the
    model semi-online, None offline: see ``LookingAhead``. Its blocks are the windows then.
    Instances are the ``top_k`` best; the thresholds are for panoptic segmentation.
    """

    short_side: int | None = 448
    max_size: int = 1333
    divisor: int = 32
    top_k: int = 10
    precision: str = "fp32"
    look_ahead: int | None = 0
    class_threshold: float = 0.8
    overlap_threshold: float = 0.8
    mask_threshold: float = 0.5
    window: int = field(default=3, metadata=_OFF)
    batch: int = field(default=1, metadata=_OFF)
    buffer_mib: int = field(default=2048, metadata=_OFF)
    compile: str | None = field(default=None, metadata=_OFF)


Masks = Callable[[Sequence[Tensor]], Iterator[list[Tensor]]]


@dataclass
class VideoOutputs:
    """What a task sees of B videos of one shape."""

    class_logits: Logits
    """(B, Q, C+1), the mean over the frames, on the CPU. Where tracks begin and end, Q are those of
    a video, which may be none, and the mean is over the frames of each."""
    masks: Masks
    """The queries (K,) to keep of each video -> frame after frame, for each video their mask
    logits (K, h, w) in float32, on the device of the model. They can be read once."""
    padded: tuple[int, int]
    inner: tuple[int, int]
    """Input height and width with and without padding."""
    online: Logits | None = None
    """What a refiner was given (B, Q, C+1), as ``class_logits`` without it. A class has the larger
    of its two probabilities (DVIS)."""

    def online_of(self, video: int = 0) -> Tensor | None:
        """``online`` (Q, C+1) of one video."""
        return None if self.online is None else self.online[video]


def prepared(model: VideoSegmenter, settings: InferenceSettings) -> VideoSegmenter:
    """The model in evaluation mode, looking ahead and compiled as the settings say.

    Raises:
        BenchError: a look-ahead or a compile mode that there is not, or both passes backwards and a
            refiner.
    """
    if settings.look_ahead != 0:
        if model.refiner is not None:
            raise BenchError(
                f"look_ahead is {settings.look_ahead}; with a refiner, which sees the whole video, "
                "it must be 0"
            )
        model = LookingAhead(model, settings.look_ahead)
        if settings.compile is not None:
            raise BenchError("a model that looks ahead is not compiled; use compile=None")
    elif settings.compile is not None:
        model = CompiledVideo(model, settings.compile)
    return model.eval()


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
    kind = _Stream if model.refiner is None else _Refining
    stream = kind(model, videos, root, settings, inner)
    budget = settings.buffer_mib * 2**20
    mean = means(model)
    state: VideoState | None = None
    held: list[_Held] = []
    dropped: tuple[int, VideoState | None] | None = None
    for start in range(0, length, stream.step):
        output, following = stream.window(start, state)
        mean.add(output, start)
        kept = stream.hold(output)
        budget -= kept.nbytes
        if dropped is None and budget < 0:
            dropped = start, state
        if dropped is None:
            held.append(kept)
        state = following
    divisor = settings.divisor
    padded = (inner[0] + -inner[0] % divisor, inner[1] + -inner[1] % divisor)
    masks = partial(stream.masks, held, dropped, mean)
    classes, online = stream.classes(mean.logits(length))
    return VideoOutputs(classes, masks, padded, inner, online)


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
class _Held:
    """What the masks of a window are made of: logits, or embeddings and pixels.

    Of a window to be refined it is the mask features alone, as pixels.
    """

    logits: Tensor
    embeddings: Tensor | None = None
    pixels: Tensor | None = None
    tracks: Tensor | None = None

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for x in (self.logits, self.embeddings, self.pixels) if x is not None)


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
        indices = range(start, min(start + self.step, length))
        clips = [
            normalize(load_video_frames(v, self.root, indices, self.size)) for v in self.videos
        ]
        frames = pad_to_multiple(torch.stack(clips), self.settings.divisor).to(self.device)
        with self._autocast():
            return self.model(frames, state, masks=not self.model.defers_masks)

    def hold(self, output: ClipOutput) -> _Held:
        """What of a window is needed for its masks."""
        if output.pixels is None:
            return _Held(output.mask_logits, tracks=output.tracks)
        return _Held(output.mask_logits, output.embeddings, output.pixels)

    def classes(self, mean: Logits) -> tuple[Logits, Logits | None]:
        """Class logits of the videos, from their mean over the frames, and those of the stream."""
        return mean, None

    def chosen(self, mean: Means, queries: list[Tensor]) -> list[Tensor]:
        """By what the results (K,) of each video are found in a frame."""
        return mean.wanted(queries)

    @torch.no_grad()
    def masks(
        self,
        held: list[_Held],
        dropped: tuple[int, VideoState | None] | None,
        mean: Means,
        queries: Sequence[Tensor],
    ) -> Iterator[list[Tensor]]:
        """Frame after frame: from what was held, then from what is computed again from a state."""
        chosen = self.chosen(mean, [q.to(self.device) for q in queries])
        start = 0
        while held:
            yield from self._frames(held.pop(0), chosen, start)
            start += self.step
        if dropped is None:
            return
        first, state = dropped
        for start in range(first, len(self.videos[0].file_names), self.step):
            output, state = self.window(start, state)
            yield from self._frames(self.hold(output), chosen, start)

    def _frames(self, held: _Held, queries: Sequence[Tensor], start: int) -> Iterator[list[Tensor]]:
        """The masks of the window that starts at a frame."""
        for t in range(held.logits.shape[1]):
            if held.tracks is not None:
                here = zip(held.logits[:, t], held.tracks[:, t], queries, strict=True)
                masks = [masks_of(*video) for video in here]
            elif held.embeddings is None or held.pixels is None or not any(map(len, queries)):
                masks = [held.logits[b, t, kept] for b, kept in enumerate(queries)]
            else:
                masks = self._made(held.embeddings[:, t], held.pixels[:, t], queries)
            yield [x.float() for x in masks]

    def _made(self, embeddings: Tensor, pixels: Tensor, queries: Sequence[Tensor]) -> list[Tensor]:
        """The masks of some queries of each video in one frame; all videos in one batch."""
        chosen = pad_sequence(list(queries), batch_first=True)
        embeddings = embeddings.gather(1, chosen[..., None].expand(-1, -1, embeddings.shape[2]))
        with self._autocast():
            masks = self._maker.masks(embeddings, pixels)
        return [x[: len(kept)] for x, kept in zip(masks, queries, strict=True)]

    @property
    def _maker(self) -> DefersMasks | TemporalRefiner:
        assert isinstance(self.model.segmenter, DefersMasks)
        return self.model.segmenter

    @property
    def step(self) -> int:
        """Frames that enter at once."""
        ahead = self.settings.look_ahead
        if ahead is None:
            return len(self.videos[0].file_names)
        return ahead + 1 if ahead else self.settings.window

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _autocast(self) -> torch.autocast:
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.settings.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


@dataclass
class _Refining(_Stream):
    """A stream whose tracks are refined at its end; its masks are those of the refiner."""

    tracks: list[tuple[Tensor, ...]] = field(default_factory=list)
    refined: Refined | None = None

    def hold(self, output: ClipOutput) -> _Held:
        if self.refined is None:
            with self._autocast():
                self.tracks.append(self.model.tracker.to_refine(output))
        return _Held(output.mask_logits[:, :, :0], pixels=output.mask_features)

    def classes(self, mean: Logits) -> tuple[Logits, Logits | None]:
        tracks, memory = self.model.tracker.whole_video(self.tracks)
        self.tracks.clear()
        with self._autocast():
            self.refined = self._maker(tracks, memory)[-1]
        refined = self.refined.class_logits.float().cpu()
        return refined, None if self.model.tracker.numbers_tracks else mean

    def chosen(self, mean: Means, queries: list[Tensor]) -> list[Tensor]:
        return queries

    def _frames(self, held: _Held, queries: Sequence[Tensor], start: int) -> Iterator[list[Tensor]]:
        assert self.refined is not None
        assert held.pixels is not None
        for t in range(held.pixels.shape[1]):
            embeddings = self.refined.mask_embeddings[:, start + t]
            yield [x.float() for x in self._made(embeddings, held.pixels[:, t], queries)]

    @property
    def _maker(self) -> TemporalRefiner:
        assert self.model.refiner is not None
        return self.model.refiner
