"""Labels beside points: where each stands so that none covers another, a point or the edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

ANGLES = (0, 180, 90, 270, 35, 325, 145, 215, 60, 300, 120, 240)
"""Where a label may stand, in degrees from its point, the best place first."""
DISTANCES = (5.0, 9.0, 15.0, 23.0, 33.0, 45.0)
"""From the point to the nearest edge of its label, in points."""
ROUNDS = 4


@dataclass(frozen=True)
class Box:
    """A rectangle, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that two rectangles share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0

    def outside(self, other: Box) -> float:
        """The area of this rectangle that lies outside of another."""
        area = (self.right - self.left) * (self.top - self.bottom)
        return area - self.overlap(other)

    @property
    def centre(self) -> tuple[float, float]:
        """Its centre."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2


Size = tuple[float, float]
Spot = tuple[float, float]


def label_places(
    spots: Sequence[Spot], sizes: Sequence[Size], frame: Box, obstacles: Sequence[Box] = ()
) -> list[Box]:
    """A box for the label of each spot, in the units of the spots.

    Labels take the cheapest of some places around their spot one after the other, and again after
    all have one: overlaps cost most, then distance, then the order of ``ANGLES``.

    Args:
        spots: the points that are labelled.
        sizes: width and height of their labels.
        frame: where labels have to be.
        obstacles: what no label should cover, beside the spots.
    """
    taken = [*obstacles, *(Box(x - 3, y - 3, x + 3, y + 3) for x, y in spots)]
    choices = [_choices(spot, size) for spot, size in zip(spots, sizes, strict=True)]
    places: list[Box | None] = [None] * len(spots)
    for _ in range(ROUNDS):
        for i, boxes in enumerate(choices):
            others = [box for j, box in enumerate(places) if box is not None and j != i]
            places[i] = min(boxes, key=lambda c: _cost(c, others, taken, frame))[1]
    return [box for box in places if box is not None]


def _choices(spot: Spot, size: Size) -> list[tuple[float, Box]]:
    """Boxes around a spot, each with what its place alone costs."""
    boxes = []
    for (rank, angle), distance in product(enumerate(ANGLES), DISTANCES):
        dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        x, y = spot[0] + distance * dx, spot[1] + distance * dy
        left = x - size[0] * (1 - dx) / 2
        bottom = y - size[1] * (1 - dy) / 2
        box = Box(left, bottom, left + size[0], bottom + size[1])
        boxes.append((0.4 * rank + distance, box))
    return boxes


def _cost(
    choice: tuple[float, Box], others: Sequence[Box], taken: Sequence[Box], frame: Box
) -> float:
    own, box = choice
    covered = sum(box.overlap(other) for other in others)
    hidden = sum(box.overlap(other) for other in taken)
    return own + 5 * covered + 3 * hidden + 20 * box.outside(frame)
