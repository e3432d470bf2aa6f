"""Segments drawn over a frame: fills, outlines and labels, quick enough to follow a video."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from videomt_bench.predict.chips import Box, Label, Placement, chip, paste, shown_name
from videomt_bench.predict.classes import Classes
from videomt_bench.predict.colours import INK, Colour, class_colour, mixed, track_colour
from videomt_bench.predict.segments import FrameSegments, Segment

THING_FILL, STUFF_FILL = 0.48, 0.55
"""How much of a pixel is the colour of its segment."""
SMALL_SIDE, COMFORTABLE = 128, 384
"""Frames with a shorter side than the first are enlarged to about the second, if not told."""
MIN_STUFF = 0.012
"""Share of the frame from which on stuff is named."""
SUBPIXEL = 4
"""Bits of a fraction of a pixel, for OpenCV."""


def default_scale(height: int, width: int) -> int:
    """How many times larger tiny frames are drawn, so that there is room for labels."""
    side = min(height, width)
    return 1 if side >= SMALL_SIDE else max(1, round(COMFORTABLE / side))


class Overlay:
    """Draws one video; colours depend on track and class alone, labels stay where they were.

    Args:
        classes: names, things and stuff.
        scale: how many times larger than the frames; None: see :func:`default_scale`.
    """

    def __init__(self, classes: Classes, scale: int | None = None) -> None:
        self.classes = classes
        self.scale = scale
        self.placement = Placement()

    def draw(self, pixels: np.ndarray, found: FrameSegments) -> np.ndarray:
        """A frame RGB uint8 (H, W, 3) with its segments, as a new one at the scale."""
        height, width = pixels.shape[:2]
        scale = self.scale or default_scale(height, width)
        owner = found.owner
        if scale > 1:
            size = (width * scale, height * scale)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
            owner = enlarged(owner, len(found.segments), size)
        image = self._filled(pixels, owner, found.segments)
        unit = min(image.shape[:2])
        boxes = self._outlined(image, owner, found.segments, max(1, round(unit / 360)))
        self.placement.begin(*image.shape[:2])
        size_of_text = max(10, round(unit / 45))
        self._name_things(image, owner, boxes, found.segments, size_of_text)
        self._name_stuff(image, owner, found.segments, max(9, round(size_of_text * 0.85)))
        return image

    def colour(self, segment: Segment) -> Colour:
        """Tracks by their number; stuff, and pixels that no track owns, by their class."""
        if segment.is_thing and segment.query is not None:
            return track_colour(segment.id)
        return class_colour(segment.label, segment.is_thing)

    def _filled(
        self, pixels: np.ndarray, owner: np.ndarray, segments: Sequence[Segment]
    ) -> np.ndarray:
        colours = np.zeros((len(segments) + 1, 3), np.uint8)
        share = np.zeros(len(segments) + 1, np.float32)
        for i, segment in enumerate(segments, start=1):
            colours[i] = self.colour(segment)
            share[i] = THING_FILL if segment.is_thing else STUFF_FILL
        weight = share[owner]
        return cv2.blendLinear(pixels, colours[owner], 1 - weight, weight)

    def _outlined(
        self, image: np.ndarray, owner: np.ndarray, segments: Sequence[Segment], thickness: int
    ) -> dict[int, Box]:
        """Draw outlines, in place; returns the box of the largest part of each thing."""
        boxes: dict[int, Box] = {}
        for i, segment in enumerate(segments):
            mask = (owner == i + 1).view(np.uint8)
            left, top, width, height = cv2.boundingRect(mask)
            if width == 0:
                continue
            colour = self.colour(segment)
            lines = smooth_outlines(mask[top : top + height, left : left + width], left, top)
            if not segment.is_thing:
                _draw(image, lines, mixed(colour, INK, 0.35), 1)
                continue
            boxes[i] = largest(lines)
            _draw(image, lines, mixed(colour, INK, 0.75), thickness + 2)
            _draw(image, lines, colour, thickness)
        return boxes

    def _name_things(
        self,
        image: np.ndarray,
        owner: np.ndarray,
        boxes: dict[int, Box],
        segments: Sequence[Segment],
        size: int,
    ) -> None:
        """The surest thing is the first to choose its place; none hides others if it can."""
        other = np.array([False, *(s.is_thing and s.query is not None for s in segments)])
        for i in sorted(boxes, key=lambda i: -(segments[i].score or 0)):
            segment, box = segments[i], boxes[i]
            if segment.query is None:
                continue
            score = "" if segment.score is None else f"{min(segment.score, 0.99):.2f}"
            name = shown_name(self.classes.categories[segment.label].name)
            patch = chip(Label(f"{name} {segment.id}", score, self.colour(segment), 0.92), size)
            height, width = patch.shape[:2]
            others = other.copy()
            others[i + 1] = False

            def hidden(at: Box, others: np.ndarray = others) -> int:
                return int(np.count_nonzero(others[owner[at.top : at.bottom, at.left : at.right]]))

            places = _places(box, width, height)
            place = self.placement.place(segment.id, places, (width, height), hidden)
            paste(image, patch, place.left, place.top)

    def _name_stuff(
        self, image: np.ndarray, owner: np.ndarray, segments: Sequence[Segment], size: int
    ) -> None:
        """In the middle of the largest round spot of a class, where no other label is."""
        step = max(1, min(owner.shape) // 180)
        coarse = owner[::step, ::step]
        for i, segment in enumerate(segments):
            if segment.is_thing and segment.query is not None:
                continue
            mask = (coarse == i + 1).view(np.uint8)
            if np.count_nonzero(mask) < MIN_STUFF * mask.size:
                continue
            mask = np.pad(mask, 1)
            distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[1:-1, 1:-1]
            y, x = divmod(int(distance.argmax()), distance.shape[1])
            name = shown_name(self.classes.categories[segment.label].name)
            ground = mixed(self.colour(segment), INK, 0.72)
            patch = chip(Label("", name, ground, 0.78), size)
            height, width = patch.shape[:2]
            corner = (x * step - width // 2, y * step - height // 2)
            place = self.placement.free(*corner, (width, height))
            if place is not None:
                paste(image, patch, place.left, place.top)


def enlarged(owner: np.ndarray, count: int, size: tuple[int, int]) -> np.ndarray:
    """A map of 0 to ``count`` at a larger (width, height), its borders smooth instead of blocks."""
    best = np.zeros((size[1], size[0]), np.float32)
    result = np.zeros((size[1], size[0]), owner.dtype)
    for i in range(count + 1):
        mask = (owner == i).astype(np.float32)
        share = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
        ahead = share > best
        best[ahead], result[ahead] = share[ahead], i
    return result


def smooth_outlines(mask: np.ndarray, left: int, top: int) -> list[np.ndarray]:
    """The borders of a mask as closed lines, in fractions of a pixel, without its staircases.

    Args:
        mask: uint8 (h, w).
        left, top: where it lies in the frame.
    """
    lines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top))
    smooth = []
    for line in lines:
        points = line[:, 0].astype(np.float32)
        if len(points) >= 12:
            around = np.concatenate([points[-2:], points, points[:2]])
            sums = np.cumsum(np.concatenate([np.zeros((1, 2), np.float32), around]), axis=0)
            points = (sums[5:] - sums[:-5]) / 5
        smooth.append(np.rint(points * 2**SUBPIXEL).astype(np.int32))
    return smooth


def largest(lines: Sequence[np.ndarray]) -> Box:
    """The box of the largest of some outlines, in whole pixels."""
    corners = [(line.min(0) >> SUBPIXEL, (line.max(0) >> SUBPIXEL) + 1) for line in lines]
    start, end = max(corners, key=lambda ends: int((ends[1] - ends[0]).prod()))
    return Box(*start.tolist(), *end.tolist())


def _draw(image: np.ndarray, lines: list[np.ndarray], colour: Colour, thickness: int) -> None:
    cv2.polylines(image, lines, True, colour, thickness, cv2.LINE_AA, SUBPIXEL)


def _places(box: Box, width: int, height: int) -> list[tuple[int, int]]:
    """Where a label may go, best first: above its object, on it, below, beside, then further up."""
    middle = (box.left + box.right - width) // 2
    above = [(x, box.top - height - 3) for x in (box.left, middle, box.right - width)]
    inside = [(middle, box.top + 4), (middle, (box.top + box.bottom - height) // 2)]
    below = [(middle, box.bottom + 3), (box.left, box.bottom + 3)]
    beside = [(box.right + 3, box.top), (box.left - width - 3, box.top)]
    further = [(middle, box.top - 3 - k * (height + 2)) for k in (2, 3)]
    further += [(middle, box.bottom + 3 + k * (height + 2)) for k in (1, 2)]
    return [*above, *inside, *below, *beside, *further]
