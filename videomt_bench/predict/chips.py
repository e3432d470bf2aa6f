"""Label chips: a rounded patch with a name, a number and a score, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from videomt_bench.predict.colours import INK, Colour, mixed, text_on

FINE = 4
"""Rounded corners are drawn so many times larger and reduced."""
MAX_NAME = 28
"""Characters of a class name that are shown."""
CHIPS_FIRST, STAY = 4, 0.15
"""A hidden pixel of another chip counts so often; a chip moves to save this share of its pixels."""


class Label(NamedTuple):
    """What a chip says: a name, and what comes after it in a lighter weight."""

    name: str
    detail: str
    colour: Colour
    opacity: float


class Box(NamedTuple):
    """Pixels: left, top, right, bottom, the last two exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def overlap(self, other: Box) -> int:
        """How many pixels two boxes share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)


def shown_name(name: str) -> str:
    """A class name for people: "giant_panda" is "giant panda"."""
    words = name.replace("_", " ").strip()
    return words if len(words) <= MAX_NAME else words[: MAX_NAME - 1].rstrip() + "…"


@lru_cache(maxsize=256)
def chip(label: Label, size: int) -> np.ndarray:
    """A chip as RGBA uint8 (h, w, 4); ``size`` is the height of its font in pixels."""
    bold, light = _font("DejaVuSans-Bold.ttf", size), _font("DejaVuSans.ttf", size)
    pad, gap = round(size * 0.45), round(size * 0.4) if label.name and label.detail else 0
    ascent, descent = bold.getmetrics()
    name, detail = bold.getlength(label.name), light.getlength(label.detail)
    width = round(name + detail) + gap + 2 * pad
    height = ascent + descent + 2 * round(size * 0.12)
    ink = text_on(label.colour)
    image = Image.new("RGB", (width, height), mixed(label.colour, INK, 0.45))
    radius = round(size * 0.35)
    image.paste(label.colour, (1, 1), _rounded(width - 2, height - 2, radius - 1, 255))
    image.putalpha(_rounded(width, height, radius, round(255 * label.opacity)))
    text = Image.new("RGBA", image.size, (*ink, 0))
    draw = ImageDraw.Draw(text)
    baseline = round(size * 0.12) + ascent
    draw.text((pad, baseline), label.name, (*ink, 255), bold, anchor="ls")
    softer = (*mixed(ink, label.colour, 0.12), 255)
    draw.text((pad + name + gap, baseline), label.detail, softer, light, anchor="ls")
    return np.array(Image.alpha_composite(image, text))


def _rounded(width: int, height: int, radius: int, level: int) -> Image.Image:
    large = Image.new("L", (width * FINE, height * FINE), 0)
    box = (0, 0, width * FINE - 1, height * FINE - 1)
    ImageDraw.Draw(large).rounded_rectangle(box, radius * FINE, level)
    return large.resize((width, height), Image.Resampling.BOX)


@cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # its data holds the fonts

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / file, size)


def paste(image: np.ndarray, patch: np.ndarray, left: int, top: int) -> None:
    """Lay RGBA over a part of an RGB image, in place; what lies outside is left out."""
    height, width = image.shape[:2]
    patch = patch[max(-top, 0) : height - top, max(-left, 0) : width - left]
    left, top = max(left, 0), max(top, 0)
    below = image[top : top + patch.shape[0], left : left + patch.shape[1]]
    alpha = patch[..., 3:].astype(np.uint16)
    mixture = below * (255 - alpha) + patch[..., :3] * alpha
    below[:] = (mixture + 127) // 255


class Placement:
    """Finds places where chips neither overlap nor jump from one frame to the next."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self.taken: list[Box] = []
        self._frame = Box(0, 0, 0, 0)

    def begin(self, height: int, width: int) -> None:
        """Begin a frame of a size."""
        self.taken = []
        self._frame = Box(0, 0, width, height)

    def place(
        self,
        key: int,
        places: Iterable[tuple[int, int]],
        size: tuple[int, int],
        hidden: Callable[[Box], int] = lambda box: 0,
    ) -> Box:
        """The best place of a chip, best first where several are as good.

        Args:
            key: of the track; it keeps the place of the frame before while that is about as good.
            places: left and top, moved into the frame where they lie beyond.
            size: width and height of the chip.
            hidden: how many pixels a chip would hide that matter.
        """
        boxes = [self._inside(left, top, *size) for left, top in places]
        cost = [
            CHIPS_FIRST * sum(box.overlap(other) for other in self.taken) + hidden(box)
            for box in boxes
        ]
        best = min(range(len(boxes)), key=cost.__getitem__)
        last = self._last.get(key, best)
        if cost[last] <= cost[best] + STAY * size[0] * size[1]:
            best = last
        self._last[key] = best
        self.taken.append(boxes[best])
        return boxes[best]

    def free(self, left: int, top: int, size: tuple[int, int]) -> Box | None:
        """A box that is taken if nothing was there, otherwise None."""
        box = self._inside(left, top, *size)
        if any(box.overlap(other) for other in self.taken):
            return None
        self.taken.append(box)
        return box

    def _inside(self, left: int, top: int, width: int, height: int) -> Box:
        left = max(min(left, self._frame.right - width), 0)
        top = max(min(top, self._frame.bottom - height), 0)
        return Box(left, top, left + width, top + height)
