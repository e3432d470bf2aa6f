"""Clip-consistent augmentation: one draw for all frames and masks of a clip; test-time sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from videomt_bench.errors import BenchError

Transform = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]]
"""Frames uint8 (T, 3, H, W) and regions (N, T, H, W) -> the same of another size. Regions are bool
masks, or integer maps, whose values stay what they are."""


@dataclass(frozen=True)
class Augmentation:
    """The official training augmentation; the defaults change nothing.

    In order: with probability ``crop_probability``, if ``crop``, a resize and a random crop; a
    resize of the short side to one of ``short_sides``; a crop, if there is a ``final_crop``; a
    horizontal flip. No colour jitter.
    """

    short_sides: tuple[int, ...] | None = None
    """Pixels, one drawn uniformly; ``None`` keeps the size."""
    max_size: int = 768
    """The long side never exceeds it (pixels)."""
    crop: bool = False
    flip: float = 0.0
    """Probability."""
    crop_probability: float = 0.5
    crop_short_sides: tuple[int, ...] = (400, 500, 600)
    """The short side is resized to one of these before the crop."""
    crop_max_size: int = 1333
    crop_range: tuple[int, int] = (384, 600)
    """Height and width of the crop, each drawn uniformly, both ends included."""
    final_crop: tuple[int, int] | None = None
    """Range of height and width of a crop after the resize, as ``crop_range``; None: no such crop.
    A side that is shorter stays as it is."""

    def __post_init__(self) -> None:
        for name in ("crop_range", "final_crop"):
            sides = getattr(self, name)
            if sides is not None and not 1 <= sides[0] <= sides[1]:
                raise BenchError(
                    f"{name} is {list(sides)}; valid: the least and the most pixels of a side, "
                    "at least 1"
                )

    def __call__(
        self, frames: Tensor, masks: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """See :data:`Transform`."""
        if self.crop and rng.random() < self.crop_probability:
            side = int(rng.choice(self.crop_short_sides))
            frames, masks = _resize(frames, masks, side, self.crop_max_size)
            frames, masks = _crop(frames, masks, self.crop_range, rng)
        if self.short_sides is not None:
            side = int(rng.choice(self.short_sides))
            frames, masks = _resize(frames, masks, side, self.max_size)
        if self.final_crop is not None:
            frames, masks = _crop(frames, masks, self.final_crop, rng)
        if self.flip and rng.random() < self.flip:
            frames, masks = frames.flip(-1), masks.flip(-1)
        return frames, masks


@dataclass(frozen=True)
class ImageMotion:
    """Turns T copies of an image into a pseudo-video: one augmentation, then a slow rotation.

    The angles are uniform, sorted, and reversed with probability 0.5; all frames turn about one
    point and keep their size. What turns in from outside is black and belongs to no object.
    """

    augmentation: Augmentation
    degrees: float = 15.0
    """The largest angle, either way."""
    centre: tuple[float, float] = (0.4, 0.6)
    """Range of the point, as a fraction of width and of height."""

    def __call__(
        self, frames: Tensor, masks: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """See :data:`Transform`; of the copies only the first is read."""
        image, masks = self.augmentation(frames[:1], masks[:, :1], rng)
        angles = np.sort(rng.uniform(-self.degrees, self.degrees, len(frames)))
        if rng.random() < 0.5:
            angles = angles[::-1]
        height, width = image.shape[-2:]
        centre = (rng.uniform(*self.centre) * width, rng.uniform(*self.centre) * height)
        turned = [_rotate(image, masks, float(angle), centre) for angle in angles]
        return torch.cat([frame for frame, _ in turned]), torch.cat([m for _, m in turned], 1)


def test_size(
    height: int,
    width: int,
    short_side: int,
    max_size: int = 1333,  # noqa: PT028 (not a test)
) -> tuple[int, int]:
    """Height and width after the official resize, in pixels, before padding.

    The short side becomes ``short_side``, unless the long side would then exceed ``max_size``; the
    aspect ratio is kept and each side rounded half up.
    """
    scale = short_side / min(height, width)
    long_side = scale * max(height, width)
    if long_side > max_size:
        scale *= max_size / long_side
    return int(height * scale + 0.5), int(width * scale + 0.5)


def _crop(
    frames: Tensor, masks: Tensor, sides: tuple[int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Both cut to a random area whose height and width are in the range ``sides``."""
    low, high = sides
    area = frames.shape[-2:]
    size = [int(rng.integers(min(side, low), min(side, high) + 1)) for side in area]
    corner = [int(rng.integers(a - s + 1)) for a, s in zip(area, size, strict=True)]
    return functional.crop(frames, *corner, *size), functional.crop(masks, *corner, *size)


def _resize(frames: Tensor, masks: Tensor, short_side: int, max_size: int) -> tuple[Tensor, Tensor]:
    height, width = frames.shape[-2:]
    size = test_size(height, width, short_side, max_size)
    if size == (height, width):
        return frames, masks
    frames = functional.resize(
        frames, list(size), interpolation=InterpolationMode.BILINEAR, antialias=True
    )
    # not as a tv_tensors.Mask: its nearest neighbour is half a pixel off the bilinear frames
    resized = functional.resize(
        _as_numbers(masks), list(size), interpolation=InterpolationMode.NEAREST_EXACT
    )
    return frames, resized.view(masks.dtype)


def _rotate(
    frames: Tensor, masks: Tensor, angle: float, centre: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Both turned by ``angle`` degrees about ``centre`` = (x, y)."""
    x, y = centre
    frames = functional.rotate(frames, angle, InterpolationMode.BILINEAR, center=[x, y])
    turned = functional.rotate(_as_numbers(masks), angle, InterpolationMode.NEAREST, center=[x, y])
    return frames, turned.view(masks.dtype)


def _as_numbers(masks: Tensor) -> Tensor:
    return masks.view(torch.uint8) if masks.dtype == torch.bool else masks
