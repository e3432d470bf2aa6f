"""Generated scenes with stuff: every pixel belongs to an object, a background region or nothing.

A class of stuff is a tint of the background, as a class of things is a colour. Borders between
regions are not labelled, nor are patches of some backgrounds; some look-alikes form a crowd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from videomt_bench.data.generate import GeneratorSettings, draw_scene
from videomt_bench.data.scenes import COLOURS, Scene

SPLITS = ("train", "val")
"""As VIPSeg and VSPW name them."""

THING_IDS = (48, 60, 62, 123)
"""Of ``COLOURS``, in the numbering of VIPSeg."""
STUFF_IDS = (0, 28, 66, 121)
"""Of ``TINTS``, in the numbering of VIPSeg."""
TINTS = {
    "rose": (32, -32, 0),
    "mint": (-32, 32, 0),
    "sand": (18, 18, -37),
    "violet": (-18, -18, 37),
}
"""Added to the background; further apart than the tint that all of a background has."""

REGIONS = (2, 3)
"""Of a background, at least and at most; each of another class."""
BORDER = 0.75
"""Half the width of a border, in pixels at a short side of 48."""
PATCH = 0.5
"""Probability that a patch of the background is not labelled."""
CROWD = 0.5
"""Probability that two objects of one class, if there are, form a crowd."""

UNLABELLED, ON_BORDER = 0, -1


class StuffCategory(NamedTuple):
    """A class in the numbering of VIPSeg."""

    id: int
    name: str
    is_thing: bool
    colour: tuple[int, int, int]


def _categories() -> tuple[StuffCategory, ...]:
    things = zip(THING_IDS, COLOURS.items(), strict=True)
    stuff = zip(STUFF_IDS, TINTS.items(), strict=True)
    made = [StuffCategory(i, name, True, colour) for i, (name, colour) in things]
    for i, (name, (red, green, blue)) in stuff:
        made.append(StuffCategory(i, name, False, (128 + red, 128 + green, 128 + blue)))
    return tuple(sorted(made))


CATEGORIES = _categories()
"""All classes of generated scenes with stuff, by id."""


@dataclass(frozen=True)
class StuffScene:
    """One generated video of T frames, all pixels accounted for."""

    frames: np.ndarray
    """uint8 (T, H, W, 3)."""
    labels: np.ndarray
    """int (T, H, W): 1 + the index of a segment, ``UNLABELLED`` or ``ON_BORDER``."""
    categories: np.ndarray
    """int (S,), the class id of every segment: stuff first, then things."""
    crowds: np.ndarray
    """bool (S,)."""


def draw_stuff_scene(settings: GeneratorSettings, i: int) -> StuffScene:
    """Video ``i`` of a split: the objects of :func:`draw_scene` in front of stuff."""
    scene = draw_scene(settings, SPLITS, i)
    # the 1 keeps this generator apart from that of the objects
    rng = np.random.default_rng([settings.seed, SPLITS.index(settings.split), i, 1])
    n = int(rng.integers(REGIONS[0], REGIONS[1] + 1))
    kinds = rng.permutation(len(TINTS))[:n]
    labels = _background(n, scene.frames.shape[:3], rng)
    frames = _tinted(scene, labels, kinds)
    groups = _groups(scene, rng)
    for number, group in enumerate(groups, start=n + 1):
        labels[scene.masks[group].any(0)] = number
    things = [THING_IDS[scene.classes[group[0]]] for group in groups]
    categories = np.array([*(STUFF_IDS[kind] for kind in kinds), *things])
    crowds = np.array([False] * n + [len(group) > 1 for group in groups])
    return StuffScene(frames, labels, categories, crowds)


def _background(n: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Labels int16 (T, H, W) of n regions between waves that drift slowly."""
    frames, height, width = shape
    short = min(height, width)
    y, x = (np.arange(side) + 0.5 for side in (height, width))
    y, x = y[:, None] / short, x[None] / short
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    phase = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.1, 0.1) * np.arange(frames)
    wave = np.sin(rng.uniform(3, 8) * along + phase[:, None, None])
    level = across + rng.uniform(0.03, 0.1) * wave
    borders = np.quantile(level[0], (np.arange(1, n) + rng.uniform(-0.2, 0.2, n - 1)) / n)
    distance = level[..., None] - borders
    labels = (1 + (distance > 0).sum(-1)).astype(np.int16)
    if rng.random() < PATCH:
        centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.1, 0.2)
        patch = np.hypot(y - centre[0] * height / short, x - centre[1] * width / short) < radius
        labels[:, patch] = UNLABELLED
    labels[(np.abs(distance) < BORDER / 48).any(-1)] = ON_BORDER
    return labels


def _tinted(scene: Scene, labels: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """The frames of a scene with a tint on what its objects leave free."""
    tints = np.zeros((len(kinds) + 1, 3), dtype=np.int16)
    tints[1:] = np.array(list(TINTS.values()))[kinds]
    tint = tints[np.maximum(labels, 0)]
    tint[scene.masks.any(0)] = 0
    return np.clip(scene.frames + tint, 0, 255).astype(np.uint8)


def _groups(scene: Scene, rng: np.random.Generator) -> list[list[int]]:
    """The objects that are seen at all, one or, as a crowd, two to a segment."""
    groups: list[list[int]] = [[i] for i, masks in enumerate(scene.masks) if masks.any()]
    pairs: list[tuple[Any, ...]] = [
        (a, b)
        for a in range(len(groups))
        for b in range(a)
        if scene.classes[groups[a][0]] == scene.classes[groups[b][0]]
    ]
    if rng.random() < CROWD and pairs:
        first, second = pairs[rng.integers(len(pairs))]
        groups[second] += groups.pop(first)
    return groups
