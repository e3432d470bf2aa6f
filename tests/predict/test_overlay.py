"""What is in the pixels of an overlay: fills, outlines, labels, and colours that never change."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tiny_videos import tiny_classes

from videomt_bench.predict.chips import Box, Label, Placement, chip, shown_name
from videomt_bench.predict.colours import (
    INK,
    class_colour,
    from_oklch,
    text_on,
    track_colour,
)
from videomt_bench.predict.overlay import STUFF_FILL, THING_FILL, Overlay, default_scale, enlarged
from videomt_bench.predict.segments import FrameSegments, Segment

GREY = np.full((240, 320, 3), 120, np.uint8)


def _found(*boxes: tuple[int, int, int, int], thing: bool = True) -> FrameSegments:
    """Rectangles top, bottom, left, right as segments 1, 2, …"""
    owner = np.zeros(GREY.shape[:2], np.uint16)
    segments = []
    for i, (top, bottom, left, right) in enumerate(boxes):
        owner[top:bottom, left:right] = i + 1
        label = i % 2 if thing else 2 + i % 2
        segments.append(Segment(i + 1, label, thing, 0.9 - i / 100, i if thing else None))
    return FrameSegments(segments, owner)


def _near(pixel: np.ndarray, colour: tuple[int, int, int], limit: int = 3) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= limit)


def test_fill_outline_and_the_rest() -> None:
    image = Overlay(tiny_classes("panoptic")).draw(GREY, _found((100, 200, 100, 200)))
    colour = np.array(track_colour(1))
    assert _near(image[150, 150], 120 + (colour - 120) * THING_FILL)
    assert _near(image[150, 100], tuple(colour), 35)
    assert image[150, 98].mean() < 100  # the dark rim around the outline
    np.testing.assert_array_equal(image[220:, :90], GREY[220:, :90])


def test_stuff_is_muted_and_below_things() -> None:
    found = _found((0, 240, 0, 320), (100, 200, 100, 200))
    segments = [Segment(7, 2, False, 0.9), found.segments[1]]
    image = Overlay(tiny_classes("panoptic")).draw(GREY, FrameSegments(segments, found.owner))
    sky = np.array(class_colour(2, False))
    assert _near(image[20, 20], 120 + (sky - 120) * STUFF_FILL)
    assert _near(image[150, 150], 120 + (np.array(track_colour(2)) - 120) * THING_FILL)
    assert np.ptp(sky) < min(np.ptp(track_colour(i)) for i in range(1, 30))


def test_labels_are_there_and_do_not_hide_each_other() -> None:
    """Eight touching objects: every label has its colour, whole, somewhere."""
    boxes = [(60 + 60 * (i // 4), 120 + 60 * (i // 4), 40 + 60 * (i % 4), 100 + 60 * (i % 4))
             for i in range(8)]  # fmt: skip
    overlay = Overlay(tiny_classes("instances"), scale=2)
    overlay.draw(GREY, _found(*boxes))
    placed = overlay.placement.taken
    assert len(placed) == 8
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(placed, 2))
    assert all(b.left >= 0 and b.top >= 0 and b.right <= 640 and b.bottom <= 480 for b in placed)


def test_a_label_goes_to_the_largest_part() -> None:
    """Of an object in two far corners the name is at the larger one, not in the middle."""
    found = _found((180, 230, 220, 300))
    found.owner[10:30, 10:30] = 1
    overlay = Overlay(tiny_classes("instances"))
    overlay.draw(GREY, found)
    (box,) = overlay.placement.taken
    assert box.left >= 215
    assert box.top >= 150


def test_a_label_stays_where_it_was() -> None:
    """Something comes near and goes: the label that moved away does not come back at once."""
    placement = Placement()
    placement.begin(100, 100)
    free = placement.place(1, [(10, 10), (10, 50)], (30, 10))
    placement.begin(100, 100)
    placement.place(2, [(10, 10)], (30, 10))
    away = placement.place(1, [(10, 10), (10, 50)], (30, 10))
    placement.begin(100, 100)
    later = placement.place(1, [(10, 10), (10, 50)], (30, 10))
    assert (free.top, away.top, later.top) == (10, 50, 50)


def test_the_image_does_not_depend_on_the_past_where_labels_agree() -> None:
    found = _found((100, 200, 100, 200))
    overlay = Overlay(tiny_classes("instances"))
    first = overlay.draw(GREY, found)
    np.testing.assert_array_equal(overlay.draw(GREY, found), first)
    np.testing.assert_array_equal(Overlay(tiny_classes("instances")).draw(GREY, found), first)


def test_colours_are_fixed() -> None:
    """Other numbers here would change the videos that people have."""
    assert track_colour(1) == (230, 159, 0)
    assert track_colour(2) == (20, 120, 200)
    assert track_colour(8) == from_oklch(0.76, 0.15, 20)
    assert class_colour(0, False) == from_oklch(0.50, 0.055, 250)


def test_colours_of_tracks_can_be_told_apart() -> None:
    colours = [track_colour(i) for i in range(1, 25)]
    assert len(set(colours)) == 24
    neighbours = [np.abs(np.subtract(a, b)).sum() for a, b in itertools.pairwise(colours)]
    assert min(neighbours) > 60


def test_oklch_against_known_colours() -> None:
    """Ottosson's own table: white, and the hue of pure red at 29.23 degrees."""
    assert from_oklch(1.0, 0.0, 0.0) == (255, 255, 255)
    assert from_oklch(0.0, 0.0, 0.0) == (0, 0, 0)
    assert _near(np.array(from_oklch(0.62796, 0.25768, 29.234)), (255, 0, 0), 1)
    assert _near(np.array(from_oklch(0.45201, 0.31321, 264.052)), (0, 0, 255), 1)


@pytest.mark.parametrize("number", range(1, 40))
def test_text_is_readable_on_every_colour(number: int) -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        parts = np.array(colour) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    ground = track_colour(number)
    lighter, darker = sorted((luminance(ground), luminance(text_on(ground))), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) > 4.4


def test_a_chip_has_text_and_round_corners() -> None:
    patch = chip(Label("dog 3", "0.97", track_colour(1), 1.0), 16)
    assert patch[0, 0, 3] == 0
    assert patch[patch.shape[0] // 2, 4, 3] == 255
    dark = (patch[..., :3].astype(int) - INK).sum(-1) < 60
    assert 100 < dark.sum() < patch[..., 0].size / 2
    assert chip(Label("", "0.97", track_colour(1), 1.0), 16).shape[1] < patch.shape[1]


def test_names_are_for_people() -> None:
    assert shown_name("giant_panda") == "giant panda"
    assert len(shown_name("cupboard_or_showcase_or_storage_rack")) == 28


def test_tiny_frames_are_enlarged() -> None:
    assert [default_scale(*s) for s in ((48, 48), (720, 1280), (128, 300))] == [8, 1, 1]
    image = Overlay(tiny_classes("instances")).draw(GREY[:48, :64], FrameSegments([], np.zeros((48, 64), np.uint16)))  # fmt: skip # noqa: E501
    assert image.shape == (384, 512, 3)
    owner = np.zeros((8, 8), np.uint16)
    owner[2:6, 2:6] = 1
    large = enlarged(owner, 1, (80, 80))
    assert large[40, 40] == 1
    assert large[5, 5] == 0
    assert abs(np.count_nonzero(large) - 1600) < 100
    assert large[20, 20] == 0  # a rounded corner


def test_nothing_found_is_the_frame_itself() -> None:
    found = FrameSegments([], np.zeros(GREY.shape[:2], np.uint16))
    np.testing.assert_array_equal(Overlay(tiny_classes("instances")).draw(GREY, found), GREY)


def test_boxes() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(5, 8, 20, 20)) == 10
    assert Box(0, 0, 10, 10).overlap(Box(10, 0, 20, 10)) == 0
