"""Generated scenes: coloured shapes that move, hide each other, come late, vanish and return.

A class is a colour; the shape says nothing. Everything about a video is drawn from one generator,
and masks are analytic, so a scene costs milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (205, 60, 55),
    "green": (65, 170, 75),
    "blue": (65, 95, 210),
    "yellow": (215, 195, 65),
}
"""The classes, in the order of their ids."""

EXPONENTS = (1.0, 2.0, 10.0)
"""|x|^p + |y|^p < 1 is a diamond, an ellipse, a rectangle (its corners a little round)."""

MIN_PIXELS = 4
"""An object with fewer visible pixels in a frame counts as absent there."""


@dataclass(frozen=True)
class Physics:
    """What scenes are made of; ranges include both ends.

    Lengths and speeds are in pixels at a short side of 48 and grow with it; late starts are in
    frames of a video of 24 and grow with its length.
    """

    objects: tuple[int, int] = (2, 4)
    look_alike: float = 0.4
    """Probability that all objects of a video are of one class."""
    radius: tuple[float, float] = (5.0, 9.0)
    aspect: float = 0.35
    """Height over width is exp of a uniform draw within +- this."""
    brightness: tuple[float, float] = (0.55, 1.0)
    """A factor per object, the cue that tells look-alikes apart."""
    colour_jitter: float = 12.0
    speed: tuple[float, float] = (1.2, 6.0)
    """Pixels per frame."""
    late: float = 0.5
    """Probability of a late start; the first object never starts late."""
    late_start: tuple[int, int] = (1, 16)
    gap: float = 0.4
    """Probability that an object vanishes once and comes back."""
    gap_length: tuple[int, int] = (1, 3)
    early: float = 0.1
    """Probability of leaving for good in the second half of its life."""
    background: tuple[float, float] = (60.0, 160.0)
    background_tint: float = 20.0
    background_noise: float = 12.0
    """Deviation of the smooth, constant noise of the background."""
    pixel_noise: float = 8.0
    """Deviation of the noise of every pixel of every frame."""


SCENES = {
    # objects bounce off the borders; a query can serve as a slot for a colour and a region
    "slots": Physics(),
    # many look-alikes swing through the centre and change sides, so such a slot cannot work
    "crossing": Physics(
        objects=(4, 5),
        look_alike=1.0,
        radius=(5.0, 8.0),
        brightness=(0.45, 1.0),
        speed=(0.8, 2.4),
        gap=0.2,
    ),
}
"""The kinds of scenes and their physics."""


@dataclass(frozen=True)
class Scene:
    """One generated video of T frames with N objects."""

    frames: np.ndarray
    """uint8 (T, H, W, 3)."""
    classes: np.ndarray
    """int (N,), indices into ``COLOURS``."""
    masks: np.ndarray
    """bool (N, T, H, W), visible pixels only; empty where the object is absent."""


def make_scene(
    kind: str, physics: Physics, frames: int, height: int, width: int, rng: np.random.Generator
) -> Scene:
    """Draw one video; ``kind`` is a key of ``SCENES`` and decides how objects move."""
    n = int(rng.integers(physics.objects[0], physics.objects[1] + 1))
    one_class = rng.random() < physics.look_alike
    classes = rng.integers(len(COLOURS), size=n)
    if one_class:
        classes[:] = classes[0]
    scale = min(height, width) / 48
    radii = _radii(physics, n, rng) * scale
    centres = _PATHS[kind](physics, radii, scale, frames, height, width, rng)
    shapes = _shapes(centres, radii, rng.choice(EXPONENTS, n), height, width)
    shapes &= _alive(physics, n, frames, rng)[:, :, None, None]
    owner = _topmost(shapes)
    masks = owner == np.arange(1, n + 1, dtype=owner.dtype)[:, None, None, None]
    masks &= (np.count_nonzero(masks, axis=(2, 3)) >= MIN_PIXELS)[:, :, None, None]
    return Scene(_paint(physics, owner, classes, rng), classes, masks)


def _radii(physics: Physics, n: int, rng: np.random.Generator) -> np.ndarray:
    """Half heights and half widths (N, 2)."""
    radius = rng.uniform(*physics.radius, n)
    stretch = np.exp(rng.uniform(-physics.aspect, physics.aspect, n) / 2)
    return np.stack((radius * stretch, radius / stretch), 1)


def _bouncing(
    physics: Physics,
    radii: np.ndarray,
    scale: float,
    frames: int,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Centres (N, T, 2) of objects that move straight and are reflected by the borders."""
    n = len(radii)
    room = np.maximum(np.array((height, width)) - 2 * radii, 1.0)
    start = rng.uniform(0, 1, (n, 2)) * room
    velocity = _directions(n, rng) * rng.uniform(*physics.speed, (n, 1)) * scale
    travelled = start[:, None] + velocity[:, None] * np.arange(frames)[:, None]
    return radii[:, None] + _fold(travelled, room[:, None])


def _swinging(
    physics: Physics,
    radii: np.ndarray,
    scale: float,
    frames: int,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Centres (N, T, 2) of objects that swing along chords through the centre region."""
    n = len(radii)
    size = np.array((height, width), dtype=float)
    middle = size / 2 + rng.uniform(-0.1, 0.1, (n, 2)) * size
    reach = (min(height, width) / 2 - 2 * scale) - radii.max(1)
    chord = 2 * np.maximum(reach, 1.0)[:, None]
    speed = rng.uniform(*physics.speed, (n, 1)) * scale
    travelled = rng.uniform(0, 2, (n, 1)) * chord + speed * np.arange(frames)
    along = _fold(travelled, chord) - chord / 2
    return middle[:, None] + along[:, :, None] * _directions(n, rng)[:, None]


_PATHS = {"slots": _bouncing, "crossing": _swinging}


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.stack((np.sin(angle), np.cos(angle)), 1)


def _fold(x: np.ndarray, length: np.ndarray) -> np.ndarray:
    """A straight way, folded back and forth into [0, length]."""
    return length - np.abs(x % (2 * length) - length)


def _alive(physics: Physics, n: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Bool (N, T): late starts, gaps and early ends; every object lives in some frame."""
    latest = max(1, round(physics.late_start[1] * frames / 24))
    earliest = min(max(1, round(physics.late_start[0] * frames / 24)), latest)
    alive = np.zeros((n, frames), dtype=bool)
    for i in range(n):
        late, early, gap = rng.random(3) < (physics.late, physics.early, physics.gap)
        drawn = int(rng.integers(earliest, latest + 1))
        start = min(drawn, frames - 1) if late and i > 0 else 0
        half = start + (frames - start + 1) // 2
        end = int(rng.integers(half, frames)) if early and half < frames else frames
        alive[i, start:end] = True
        length = int(rng.integers(physics.gap_length[0], physics.gap_length[1] + 1))
        if gap and end - start >= length + 2:
            first = int(rng.integers(start + 1, end - length))
            alive[i, first : first + length] = False
    return alive


def _shapes(
    centres: np.ndarray, radii: np.ndarray, exponents: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Bool (N, T, H, W): the pixels whose centre is inside the shape."""
    power = exponents[:, None, None]
    y, x = (
        (np.abs(np.arange(side) + 0.5 - centres[:, :, axis, None]) / radii[:, axis, None, None])
        ** power
        for axis, side in enumerate((height, width))
    )
    return y[..., None] + x[:, :, None, :] < 1


def _topmost(shapes: np.ndarray) -> np.ndarray:
    """Painter's order: int (T, H, W), 1 + the last object that covers a pixel, 0 for none."""
    owner = np.zeros(shapes.shape[1:], dtype=np.uint8)
    for number, shape in enumerate(shapes, start=1):
        owner[shape] = number
    return owner


def _paint(
    physics: Physics, owner: np.ndarray, classes: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Frames uint8 (T, H, W, 3)."""
    n, (_, height, width) = len(classes), owner.shape
    jitter = rng.uniform(-physics.colour_jitter, physics.colour_jitter, (n, 3))
    brightness = rng.uniform(*physics.brightness, (n, 1))
    colours = np.zeros((n + 1, 3), dtype=np.float32)
    colours[1:] = (np.array(list(COLOURS.values()))[classes] + jitter) * brightness
    image = colours[owner]
    image += (owner == 0)[..., None] * _background(physics, height, width, rng)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += np.float32(physics.pixel_noise) * noise
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _background(physics: Physics, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A nearly grey tone with smooth noise, float32 (H, W, 3)."""
    tint = rng.uniform(-physics.background_tint, physics.background_tint, 3)
    tone = rng.uniform(*physics.background) + tint
    cell = min(height, width) / 6
    coarse = rng.standard_normal((int(height / cell) + 2, int(width / cell) + 2))
    rows = _interpolation(height, cell, coarse.shape[0])
    columns = _interpolation(width, cell, coarse.shape[1])
    noise = physics.background_noise * (rows @ coarse @ columns.T)
    return (tone + noise[..., None]).astype(np.float32)


def _interpolation(side: int, cell: float, n: int) -> np.ndarray:
    """Linear weights (side, n) from a grid of n points, ``cell`` pixels apart, to pixels."""
    position = np.arange(side)[:, None] / cell
    return np.maximum(0, 1 - np.abs(position - np.arange(n)))
