"""Colours of tracks and of classes: functions of a number alone, so they never change.

The first tracks get the colours of Okabe and Ito (2008), which people with any colour vision tell
apart, in an order that keeps neighbours far from each other. Later ones go around the hues in steps
of the golden angle and alternate in lightness, in OKLCH (Ottosson, 2020), where equal steps look
equal.
"""

from __future__ import annotations

import math
from functools import cache

Colour = tuple[int, int, int]
"""R, G, B in 0..255."""

FIRST: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (20, 120, 200),  # blue, a little lighter than on paper
    (0, 170, 125),  # bluish green
    (222, 110, 180),  # reddish purple
    (95, 190, 245),  # sky blue
    (224, 96, 24),  # vermilion
    (240, 228, 66),  # yellow
)
GOLDEN_ANGLE = 137.50776
LIGHT = (0.76, 0.56, 0.86)
"""Lightness of later tracks in turn."""
CLASS_LIGHT = (0.50, 0.64, 0.78)
INK: Colour = (10, 11, 14)
PAPER: Colour = (255, 255, 255)


@cache
def track_colour(number: int) -> Colour:
    """The colour of a track by its number, from 1."""
    index = number - 1
    if index < len(FIRST):
        return FIRST[index]
    later = index - len(FIRST)
    return from_oklch(LIGHT[later % len(LIGHT)], 0.15, 20 + later * GOLDEN_ANGLE)


@cache
def class_colour(label: int, is_thing: bool) -> Colour:
    """The colour of a class by its index: stuff is muted."""
    chroma = 0.13 if is_thing else 0.055
    return from_oklch(CLASS_LIGHT[label % len(CLASS_LIGHT)], chroma, 250 + label * GOLDEN_ANGLE)


def from_oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """The sRGB colour of OKLCH coordinates, hue in degrees; clipped where sRGB has none."""
    a, b = (chroma * f(math.radians(hue)) for f in (math.cos, math.sin))
    l_, m_, s_ = (
        (lightness + x * a + y * b) ** 3
        for x, y in (
            (0.3963377774, 0.2158037573),
            (-0.1055613458, -0.0638541728),
            (-0.0894841775, -1.2914855480),
        )
    )
    linear = (
        4.0767416621 * l_ - 3.3077115913 * m_ + 0.2309699292 * s_,
        -1.2684380046 * l_ + 2.6097574011 * m_ - 0.3413193965 * s_,
        -0.0041960863 * l_ - 0.7034186147 * m_ + 1.7076147010 * s_,
    )
    red, green, blue = (round(255 * _gamma(min(max(x, 0.0), 1.0))) for x in linear)
    return red, green, blue


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share in 0..1 of another."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def text_on(colour: Colour) -> Colour:
    """Ink or paper, whichever is easier to read on a colour (contrast of WCAG 2)."""
    luminance = _luminance(colour)
    on_paper = 1.05 / (luminance + 0.05)
    on_ink = (luminance + 0.05) / (_luminance(INK) + 0.05)
    return INK if on_ink >= on_paper else PAPER


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(c / 255) for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _gamma(x: float) -> float:
    return 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055


def _linear(x: float) -> float:
    return x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
