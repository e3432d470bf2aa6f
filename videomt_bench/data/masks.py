"""Segmentations of annotation files -> boolean masks; the files are not trusted.

A segmentation is a compressed RLE, an uncompressed RLE (``counts`` is a list) or a list of
polygons. pycocotools does the decoding; here its input is checked first, because it reads beyond
the end of a damaged RLE and leaves the rest of a short one uninitialised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from videomt_bench.errors import BenchError

Segmentation = Any
"""An RLE dict with ``size`` and ``counts``, or a list of polygons [x1, y1, x2, y2, ...]."""

# A run length is up to seven characters of six bits; all but its last carry the bit 0x20.
_COUNTS = re.compile(r"(?:[P-o]{0,6}[0-O])+")
_MAX_COORDINATE = 1e5


def decode_mask(
    segmentation: Segmentation, height: int, width: int, where: str = "segmentation"
) -> np.ndarray:
    """One segmentation -> bool (height, width); ``where`` names it in an error.

    Raises:
        BenchError: not a segmentation, damaged, or of another size.
    """
    return decode_masks([segmentation], height, width, where)[0]


def decode_masks(
    segmentations: Sequence[Segmentation | None],
    height: int,
    width: int,
    where: str = "segmentation",
) -> np.ndarray:
    """Segmentations -> bool (N, height, width); ``None`` becomes an empty mask.

    Raises:
        BenchError: as :func:`decode_mask`.
    """
    masks = np.zeros((len(segmentations), height, width), dtype=bool)
    rles = {
        i: _checked_rle(s, height, width, where)
        for i, s in enumerate(segmentations)
        if s is not None
    }
    if rles:
        masks[list(rles)] = coco_mask.decode(list(rles.values())).transpose(2, 0, 1)
    return masks


def encode_masks(masks: np.ndarray) -> list[dict[str, Any]]:
    """Bool (N, height, width) -> N compressed RLEs whose ``counts`` are text, ready for JSON."""
    if not len(masks):
        return []
    # pycocotools wants (height, width, N) in Fortran order, which is (N, width, height) in C order
    columns = np.ascontiguousarray(masks.swapaxes(1, 2)).view(np.uint8)
    rles = coco_mask.encode(columns.transpose(2, 1, 0))
    return [{"size": list(r["size"]), "counts": r["counts"].decode("ascii")} for r in rles]


def check_segmentation(segmentation: Any, height: int, width: int, where: str) -> None:
    """Raise a :class:`BenchError` unless :func:`decode_mask` would decode it; it is not decoded."""
    if isinstance(segmentation, list):
        _check_polygons(segmentation, where)
        return
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise BenchError(f"{where} is neither an RLE with 'size' and 'counts' nor a polygon list")
    check_size(segmentation, height, width, where)
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if not all(type(c) is int and c >= 0 for c in counts) or sum(counts) != height * width:
            raise BenchError(f"{where} is damaged: its run lengths do not add up to its size")
        return
    text = _text(counts)
    if not isinstance(text, str) or not _COUNTS.fullmatch(text):
        raise BenchError(f"{where} is damaged: its counts are not a compressed RLE")
    runs = _run_lengths(text)
    if runs.min() < 0 or runs.sum() != height * width:
        raise BenchError(f"{where} is damaged: its run lengths do not add up to its size")


def _checked_rle(segmentation: Segmentation, height: int, width: int, where: str) -> dict[str, Any]:
    """A compressed RLE that pycocotools decodes safely."""
    check_segmentation(segmentation, height, width, where)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width)
    if isinstance(segmentation["counts"], list):
        return dict(coco_mask.frPyObjects(segmentation, height, width))
    return {"size": [height, width], "counts": _text(segmentation["counts"])}


def _text(counts: Any) -> Any:
    return counts.decode("ascii", "replace") if isinstance(counts, bytes) else counts


def check_size(rle: dict[str, Any], height: int, width: int, where: str) -> None:
    """Raise a :class:`BenchError` unless the RLE is of this size."""
    if rle.get("size") != [height, width]:
        raise BenchError(
            f"{where} has size {rle.get('size')!r}, but its video is [{height}, {width}]"
        )


def _run_lengths(text: str) -> np.ndarray:
    """The run lengths of well-formed compressed counts; a damaged text may give negative ones."""
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(codes < 32)
    first = np.concatenate(([0], last[:-1] + 1))
    position = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    runs = np.add.reduceat((codes & 31) << (5 * position), first)
    # the bit 0x10 of the last character is the sign
    runs -= np.where(codes[last] & 16, 1 << (5 * (last - first + 1)), 0)
    # from the fourth on, a run is the difference to the run two before
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _check_polygons(polygons: list[Any], where: str) -> None:
    for polygon in polygons:
        if (
            not isinstance(polygon, list)
            or len(polygon) < 6
            or len(polygon) % 2
            or not all(type(v) in (int, float) and abs(v) < _MAX_COORDINATE for v in polygon)
        ):
            raise BenchError(f"{where} has a polygon that is no list of x, y of 3 or more points")


def _from_polygons(polygons: list[Any], height: int, width: int) -> dict[str, Any]:
    if not polygons:
        return dict(coco_mask.encode(np.zeros((height, width), np.uint8, order="F")))
    return dict(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
