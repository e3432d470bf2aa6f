"""Training clips: a deterministic stream of samples, and batches of them.

Sample ``i`` of a stream depends on the seed and on ``i`` alone, not on what was read before: a
resumed training needs no other state than the number of samples it has consumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videomt_bench.data.augment import Transform
from videomt_bench.data.frames import FrameFiles, read_frames
from videomt_bench.data.sampling import consecutive_frames, reference_frames
from videomt_bench.data.sources import ClipSource, Objects
from videomt_bench.errors import BenchError

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Per channel R, G, B of pixels in 0..255 (ImageNet)."""

MAX_DRAWS = 50
"""How often a clip without objects is drawn again."""


@dataclass
class Clip:
    """A training sample of T frames with N objects."""

    frames: Tensor
    """uint8 (T, 3, H, W), RGB."""
    labels: Tensor
    """long (N,), contiguous class indices."""
    masks: Tensor
    """bool (N, T, H, W), empty where an object is absent."""
    present: Tensor
    """bool (N, T): whether the object has a pixel in the frame."""


@dataclass
class ClipTargets:
    """What a clip should be segmented into; H and W are those of the padded batch."""

    labels: Tensor
    """long (N,)."""
    masks: Tensor
    """bool (N, T, H, W)."""
    present: Tensor
    """bool (N, T)."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipTargets:
        """The same targets on a device."""
        tensors = (self.labels, self.masks, self.present)
        return ClipTargets(*(x.to(device, non_blocking=non_blocking) for x in tensors))


@dataclass
class ClipBatch:
    """B clips of T frames, ready for a model."""

    frames: Tensor
    """float32 (B, T, 3, H, W), normalised, zero padded at the right and at the bottom."""
    targets: list[ClipTargets]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The same batch on a device."""
        return ClipBatch(
            self.frames.to(device, non_blocking=non_blocking),
            [target.to(device, non_blocking) for target in self.targets],
        )


class TrainClips(Dataset[Clip]):
    """An endless stream of training clips; ``len`` is one epoch, one clip per video.

    Args:
        source: an annotated dataset.
        clip_length: frames per clip.
        augmentation: drawn once per clip.
        seed: two streams with one seed are the same.
        label_quirk: labels of YT-VIS and OVIS as the official VidEoMT code takes them: from the
            last frame of the clip, and C for an object that is not annotated there, which the
            matching takes for no-object and the loss for class C - 1. By default the label of an
            object is its class.
        drop_empty: leave out videos without objects, and draw again, from any video, while a clip
            has none; after ``MAX_DRAWS`` draws the empty clip is returned.
        include_last, ordered: see :func:`consecutive_frames`.
        span: instead of consecutive frames, those near a reference frame; see
            :func:`reference_frames`.
        present_everywhere: objects of the clip count as present in all its frames, as the official
            code has it for VIPSeg and VSPW.
        reverse: probability that the frames run backwards.

    Raises:
        BenchError: no video has an object, a clip length below 1, a negative seed or span, a
            ``reverse`` that is no probability.
    """

    def __init__(
        self,
        source: ClipSource[Any],
        clip_length: int,
        augmentation: Transform,
        seed: int,
        label_quirk: bool = False,
        drop_empty: bool = True,
        *,
        include_last: bool = True,
        ordered: bool = True,
        span: int | None = None,
        present_everywhere: bool = False,
        reverse: float = 0.0,
    ) -> None:
        if clip_length < 1 or seed < 0 or (span or 0) < 0:
            within = "" if span is None else f" and span {span}"
            raise BenchError(
                f"clips of {clip_length} frames with seed {seed}{within}; "
                "valid: at least 1, at least 0"
            )
        if not 0 <= reverse <= 1:
            raise BenchError(f"reverse is {reverse}; it must be a probability from 0 to 1")
        annotated = [video for video in source.videos if source.has_objects(video)]
        if not annotated:
            raise BenchError(f"{source.path} has no annotated videos to train on")
        self.source = source
        self.videos = annotated if drop_empty else source.videos
        self.clip_length = clip_length
        self.augmentation = augmentation
        self.seed = seed
        self.label_quirk = label_quirk
        self.drop_empty = drop_empty
        self.include_last = include_last
        self.ordered = ordered
        self.span = span
        self.reverse = reverse
        self.present_everywhere = present_everywhere
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, i: int) -> Clip:
        """Sample ``i`` >= 0 of the stream; it may exceed ``len``."""
        if i < 0:
            raise IndexError(f"sample {i} of a stream that begins at 0")
        video = self.videos[self._video(i)]
        # the 1 keeps this generator apart from those of the epochs
        rng = np.random.default_rng([self.seed, i, 1])
        for _ in range(MAX_DRAWS):
            clip = self._draw(video, rng)
            if len(clip.labels) or not self.drop_empty:
                break
            video = self.videos[int(rng.integers(len(self.videos)))]
        return clip

    def _video(self, i: int) -> int:
        """Every epoch is a shuffled pass over all videos."""
        epoch, position = divmod(i, len(self.videos))
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self.videos))
        return int(self._order[position])

    def _draw(self, video: FrameFiles, rng: np.random.Generator) -> Clip:
        indices = self._indices(len(video.file_names), rng)
        frames = load_video_frames(video, self.source.frames_root, indices)
        objects = self.source.load_objects(video, indices)
        frames, regions = self.augmentation(frames, torch.from_numpy(objects.regions), rng)
        masks = _separate(regions, len(objects.labels))
        present = masks.flatten(2).any(2)
        kept = present.any(1)
        if self.present_everywhere:
            present = torch.ones_like(present)
        return Clip(frames, self._labels(objects)[kept], masks[kept], present[kept])

    def _indices(self, length: int, rng: np.random.Generator) -> np.ndarray:
        if self.span is not None:
            frames = reference_frames(length, self.clip_length, rng, self.span)
        else:
            last, ordered = self.include_last, self.ordered
            frames = consecutive_frames(length, self.clip_length, rng, last, ordered)
        # without the setting nothing is drawn, so clips stay what they were
        return frames[::-1] if self.reverse and rng.random() < self.reverse else frames

    def _labels(self, objects: Objects) -> Tensor:
        labels = torch.from_numpy(objects.labels)
        if self.label_quirk:
            in_last = torch.from_numpy(objects.annotated[:, -1])
            labels = labels.where(in_last, len(self.source.categories))
        return labels


def _separate(regions: Tensor, objects: int) -> Tensor:
    """Masks bool (N, T, H, W) of N objects from masks, or from a map (1, T, H, W) of 1 to N."""
    if regions.dtype == torch.bool:
        return regions
    numbers = torch.arange(1, objects + 1, dtype=regions.dtype)
    return regions == numbers.view(-1, 1, 1, 1)


def load_video_frames(
    video: FrameFiles,
    frames_root: Path,
    indices: Sequence[int] | np.ndarray,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Frames of a video, uint8 (T, 3, h, w); see :func:`videomt_bench.data.frames.read_frames`."""
    frames = torch.from_numpy(read_frames(video, frames_root, indices, size))
    return frames.permute(0, 3, 1, 2).contiguous()


def normalize(frames: Tensor) -> Tensor:
    """Pixels (..., 3, H, W) in 0..255 -> float32 with mean 0 and deviation 1 per channel."""
    mean = torch.tensor(MEAN, device=frames.device).view(3, 1, 1)
    std = torch.tensor(STD, device=frames.device).view(3, 1, 1)
    return frames.to(torch.float32, copy=True).sub_(mean).div_(std)


def collate(clips: Sequence[Clip], divisor: int) -> ClipBatch:
    """Normalise clips of T frames each and pad them to one size, a multiple of ``divisor``.

    Raises:
        BenchError: no clips, clips of different lengths, or a divisor below 1.
    """
    lengths = {len(clip.frames) for clip in clips}
    if len(lengths) != 1 or divisor < 1:
        raise BenchError(
            f"cannot batch clips of {sorted(lengths)} frames to multiples of {divisor}; "
            "valid: clips of one length and a divisor of at least 1"
        )
    height, width = (
        -(-max(clip.frames.shape[axis] for clip in clips) // divisor) * divisor for axis in (-2, -1)
    )
    frames = torch.zeros(len(clips), *lengths, 3, height, width)
    for padded, clip in zip(frames, clips, strict=True):
        padded[..., : clip.frames.shape[-2], : clip.frames.shape[-1]] = normalize(clip.frames)
    targets = [
        ClipTargets(clip.labels, _pad(clip.masks, height, width), clip.present) for clip in clips
    ]
    return ClipBatch(frames, targets)


def _pad(masks: Tensor, height: int, width: int) -> Tensor:
    right, bottom = width - masks.shape[-1], height - masks.shape[-2]
    return torch.nn.functional.pad(masks, (0, right, 0, bottom)) if right or bottom else masks
