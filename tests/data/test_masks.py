from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from videomt_bench.data.masks import decode_mask, decode_masks, encode_masks
from videomt_bench.errors import BenchError


def random_masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [rng.random((h, w)) < p for h, w in ((1, 1), (5, 9), (48, 31)) for p in (0.1, 0.5, 0.9)]
    large = np.zeros((720, 1280), dtype=bool)
    large[100:650, 7:1270] = True
    large[300:305, 20:900] = False
    return [*noise, large, np.zeros((4, 6), bool), np.ones((4, 6), bool)]


def run_lengths(mask: np.ndarray) -> list[int]:
    """By hand: column by column, zeros first."""
    pixels = mask.ravel(order="F").tolist()
    runs = [len(list(group)) for _, group in groupby(pixels)]
    return [0, *runs] if pixels[0] else runs


@pytest.mark.parametrize("mask", random_masks(), ids=lambda m: f"{m.shape}-{m.sum()}")
def test_every_rle_form_gives_the_mask_back(mask: np.ndarray) -> None:
    compressed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    text = {"size": list(mask.shape), "counts": compressed["counts"].decode()}
    forms = [
        {"size": list(mask.shape), "counts": compressed["counts"]},
        text,
        {"size": list(mask.shape), "counts": run_lengths(mask)},
    ]
    for form in forms:
        assert np.array_equal(decode_mask(form, *mask.shape), mask)
    assert encode_masks(mask[None]) == [text]


def test_polygons_as_pycocotools() -> None:
    polygons = [[2.0, 1.0, 9.5, 1.0, 9.5, 7.25, 2.0, 7.25], [10, 8, 14, 8, 12, 11]]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 12, 16)))
    assert np.array_equal(decode_mask(polygons, 12, 16), expected.astype(bool))
    square = decode_mask([[2, 3, 6, 3, 6, 8, 2, 8]], 12, 16)
    assert square[3:8, 2:6].all()
    assert square.sum() == 20
    assert not decode_mask([], 12, 16).any()


def test_null_is_empty_and_order_is_kept() -> None:
    masks = np.random.default_rng(1).random((3, 7, 5)) < 0.5
    first, second, third = encode_masks(masks)
    decoded = decode_masks([second, None, third, first], 7, 5)
    assert np.array_equal(decoded, [masks[1], np.zeros((7, 5)), masks[2], masks[0]])
    assert decode_masks([None], 7, 5).shape == (1, 7, 5)
    assert encode_masks(masks[:0]) == []


@pytest.mark.parametrize(
    ("segmentation", "word"),
    [
        ({"size": [4, 4], "counts": "9"}, "add up"),  # 9 of 16 pixels
        ({"size": [4, 4], "counts": "P11"}, "add up"),  # 17 pixels
        ({"size": [4, 4], "counts": "8O9"}, "add up"),  # a negative run
        ({"size": [4, 4], "counts": "9P"}, "compressed RLE"),  # ends inside a number
        ({"size": [4, 4], "counts": "PPPPPPPPPPPP0"}, "compressed RLE"),
        ({"size": [4, 4], "counts": ""}, "compressed RLE"),
        ({"size": [4, 4], "counts": "é"}, "compressed RLE"),
        ({"size": [4, 4], "counts": 5}, "compressed RLE"),
        ({"size": [4, 4], "counts": [3, 2]}, "add up"),
        ({"size": [4, 4], "counts": [20, -4]}, "add up"),
        ({"size": [4, 4], "counts": [15, True]}, "add up"),
        ({"size": [2, 8], "counts": [16]}, r"\[2, 8\].*\[4, 4\]"),
        ({"counts": [16]}, "neither"),
        ("9", "neither"),
        ([[0, 0, 1, 1]], "polygon"),
        ([[0, 0, 1, 1, 2]], "polygon"),
        ([[0, 0, 1, 1, 2, float("nan")]], "polygon"),
        ([[0, 0, 1, 1, 2, 1e300]], "polygon"),
        ([0, 0, 1, 1, 2, 2], "polygon"),
    ],
)
def test_damage_is_one_sentence(segmentation: Any, word: str) -> None:
    with pytest.raises(BenchError, match=f"^the mask of 7.*{word}"):
        decode_mask(segmentation, 4, 4, "the mask of 7")
