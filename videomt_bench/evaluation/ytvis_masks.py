"""The masks of an entry of a YouTube-VIS file: null, polygons or run lengths, one per frame."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from pycocotools import mask as coco_mask

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.rle import Rle, Segmentations

if TYPE_CHECKING:
    from videomt_bench.evaluation.ytvis_files import Video

MAX_COORDINATE = 1e5


def read_masks(entry: dict[str, Any], video: Video) -> Segmentations:
    """The masks of ``segmentations``, not yet proved sound (see ``tubes.measure``).

    Raises:
        BenchError: another number of masks than the video has frames, or one that is neither
            null nor a polygon nor run lengths.
    """
    masks = entry.get("segmentations")
    if not isinstance(masks, list):
        raise BenchError("'segmentations' is not a list")
    if len(masks) != video.length:
        raise BenchError(
            f"{len(masks)} segmentations for video {video.id}, which has {video.length} frames"
        )
    if _are_compressed(masks):
        return masks
    return [_mask(mask, video, t) for t, mask in enumerate(masks)]


def _are_compressed(masks: list[Any]) -> bool:
    try:
        return {(type(mask["counts"]), type(mask["size"])) for mask in masks} == {(str, list)}
    except (TypeError, KeyError):
        return False


def _mask(mask: Any, video: Video, t: int) -> Rle | None:
    if not mask and (mask is None or isinstance(mask, (list, dict))):
        return None
    if isinstance(mask, list):
        return _from_polygons(mask, video, t)
    if not isinstance(mask, dict) or not isinstance(mask.get("size"), list):
        raise BenchError(f"frame {t}: a mask is null or a run-length encoding with 'size'")
    counts = mask.get("counts")
    if isinstance(counts, list):
        return _from_counts(mask["size"], counts, video, t)
    return Rle(size=mask["size"], counts=counts)  # type: ignore[typeddict-item]


def _from_counts(size: list[Any], counts: list[Any], video: Video, t: int) -> Rle:
    frame = [video.height, video.width]
    sound = all(type(n) is int and n >= 0 for n in counts)
    if size != frame or not sound or sum(counts) != video.height * video.width:
        raise BenchError(f"frame {t}: size or run lengths do not fit the video's {frame}")
    return coco_mask.frPyObjects({"size": frame, "counts": counts}, *frame)


def _from_polygons(polygons: list[Any], video: Video, t: int) -> Rle:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise BenchError(f"frame {t}: a polygon is a list of 3 or more x, y pairs")
        if any(abs(read_number("polygon", x)) > MAX_COORDINATE for x in polygon):
            raise BenchError(f"frame {t}: a polygon's coordinates go beyond {MAX_COORDINATE:.0f}")
    parts = coco_mask.frPyObjects(polygons, video.height, video.width)
    return coco_mask.merge(parts)


def read_number(key: str, value: object) -> float:
    """``value`` as a float.

    Raises:
        BenchError: not a number, or not a finite one.
    """
    try:
        if isinstance(value, Real) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                return number
    except OverflowError:
        pass
    raise BenchError(f"{key} is {str(value)[:40]!r}, not a finite number")
