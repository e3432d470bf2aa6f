"""Run-length encodings from outside: decoded and proved sound, all masks of a tube at once.

pycocotools' C code trusts the text: a damaged one makes it read beyond the end or never return.
What passes here is what that code decodes.

The format: numbers of 5 bits per character (code - 48), low bits first; bit 32 says that the
number goes on, bit 16 of its last character is the sign; from the fourth number of a mask on, a
number is the difference to the one two before it. The numbers are lengths of runs of background
and foreground in turn, column by column.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from videomt_bench.errors import BenchError

Integers = npt.NDArray[np.int64]
Lengths = npt.NDArray[np.int32]
Codes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

MAX_PIXELS = 2**28
"""Of a frame: run lengths then fit into ``MAX_CHARACTERS``."""
MAX_CHARACTERS = 6
FIRST, GOES_ON, LAST = 48, 80, 111
"""Codes of characters: the lowest, the lowest of which the number goes on, the highest."""


class Rle(TypedDict):
    """A mask: ``size`` is [height, width], ``counts`` the compressed run lengths."""

    size: Sequence[int]
    counts: str | bytes


Segmentations = Sequence[Rle | None]
"""One mask per frame; None where the object has none."""


class Runs(NamedTuple):
    """K masks as P pairs of a background and a foreground run, those of a mask together."""

    lengths: Lengths
    """(P, 2); the last foreground run of a mask that ends with background is 0."""
    first: Integers
    """(K,) the first pair of each mask."""
    areas: Integers
    """(K,) pixels of each mask."""


def decode_masks(masks: Segmentations, height: int, width: int) -> Runs:
    """Decode the masks of one object, one per frame and at least one; None is an empty mask.

    Raises:
        BenchError: a mask of another size, or run lengths that cannot be decoded or do not add
            up to the frame; the sentence names the frame, counted from 0.
    """
    _check_sizes(masks, [height, width])
    texts = _texts(masks, height * width)
    # the zero behind each mask is its last foreground run, if it has none
    text = "0".join(texts) + "0"
    if not text.isascii():
        texts = [_text(text, t) for t, text in enumerate(texts)]
    codes = np.frombuffer(text.encode(), np.uint8)
    ends = np.cumsum(list(map(len, texts))) + np.arange(1, len(texts) + 1)
    return _sound(*_pairs(*_numbers(codes, ends)), height * width)


def check_masks(masks: Segmentations, height: int, width: int) -> None:
    """See :func:`decode_masks`."""
    if len(masks):
        decode_masks(masks, height, width)


def _check_sizes(masks: Segmentations, size: list[int]) -> None:
    sizes = [mask["size"] for mask in masks if mask]
    if sizes.count(size) == len(sizes):
        return
    for t, mask in enumerate(masks):
        if mask and list(mask["size"]) != size:
            raise BenchError(f"frame {t}: mask size {list(mask['size'])!r} is not {size}")


def _texts(masks: Segmentations, pixels: int) -> list[str]:
    empty = _empty_mask(pixels)
    texts = [mask["counts"] if mask else empty for mask in masks]
    if set(map(type, texts)) != {str} or "" in texts:
        texts = [_text(text, t) for t, text in enumerate(texts)]
    return texts  # type: ignore[return-value]


def _text(text: object, frame: int) -> str:
    if isinstance(text, (str, bytes)) and text and text.isascii():
        return text if isinstance(text, str) else text.decode("ascii")
    raise BenchError(f"frame {frame}: the run-length encoding is not ASCII text")


@cache
def _empty_mask(pixels: int) -> str:
    rle = coco_mask.frPyObjects({"size": [pixels, 1], "counts": [pixels]}, pixels, 1)
    return str(rle["counts"], "ascii")


def _numbers(codes: Codes, ends: Integers) -> tuple[Lengths, Integers, Flags]:
    """The numbers of all masks, an even number of them for each, and where each mask's end.

    ``codes`` are the characters, each mask with a zero behind it, and ``ends`` the ends of that.
    The zero is dropped where it makes the number odd; the flags say where it stays.
    """
    longer = np.flatnonzero(codes >= GOES_ON)
    goes_on = codes[ends - 2] >= GOES_ON
    if goes_on.any() or codes.min() < FIRST or codes.max() > LAST:
        bad = np.flatnonzero((codes < FIRST) | (codes > LAST))
        raise _undecodable(np.concatenate([bad, ends[goes_on] - 2]), ends)
    last = codes[codes < GOES_ON] if len(longer) else codes
    # code - 48 with bit 16 as the sign is this
    numbers = np.subtract(last & 31, 16, dtype=np.int32)
    if len(longer):
        _add_low_digits(numbers, codes, longer, ends)
        ends = ends - np.searchsorted(longer, ends)
    odd = ends & 1
    surplus = odd ^ np.concatenate([[0], odd[:-1]]) > 0
    if surplus.any():
        numbers = np.delete(numbers, ends[surplus] - 1)
        ends = ends - np.cumsum(surplus)
    return numbers, ends, ~surplus


def _add_low_digits(numbers: Lengths, codes: Codes, longer: Integers, ends: Integers) -> None:
    """Complete the numbers that have more than a last character; ``longer`` are the others."""
    number = longer - np.arange(len(longer))
    starts = np.concatenate([[0], np.flatnonzero(number[1:] != number[:-1]) + 1])
    count = np.concatenate([starts[1:], [len(number)]]) - starts
    if count.max() >= MAX_CHARACTERS:
        raise _undecodable(longer[starts[count >= MAX_CHARACTERS]], ends)
    place = np.arange(len(longer)) - np.repeat(starts, count)
    low = np.add.reduceat((codes[longer] & 31 ^ 16).astype(np.int32) << 5 * place, starts)
    which = number[starts]
    numbers[which] = (numbers[which] << 5 * count) + low


def _pairs(numbers: Lengths, ends: Integers, padded: Flags) -> tuple[Runs, Integers]:
    """Undo the differences; also the sums of all run lengths of each mask.

    The background runs of a mask are running sums of their own from the second on, the
    foreground runs from the first on. So each mask's first step takes back what the mask before
    it has added up. Sums wrap at 2^32, as in pycocotools.
    """
    last = ends // 2 - 1
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = numbers.reshape(-1, 2)
    heads = lengths[first, 0]
    lengths[first, 0] = 0
    for steps in lengths.T:
        total = np.add.reduceat(steps, first, dtype=np.int32)
        steps[first[1:]] -= total[:-1]
        np.cumsum(steps, out=steps)
    lengths[first, 0] = heads
    lengths[last[padded], 1] = 0
    areas = np.add.reduceat(lengths[:, 1], first, dtype=np.int64)
    return Runs(lengths, first, areas), np.add.reduceat(numbers, 2 * first, dtype=np.int64)


def _sound(runs: Runs, sums: Integers, pixels: int) -> Runs:
    if runs.lengths.min() < 0:
        lowest = np.minimum.reduceat(runs.lengths.min(1), runs.first)
        raise BenchError(f"frame {np.argmax(lowest < 0)}: run lengths are negative")
    if (sums != pixels).any():
        t = np.argmax(sums != pixels)
        raise BenchError(f"frame {t}: run lengths add up to {sums[t]}, not to {pixels}")
    return runs


def _undecodable(positions: Integers, ends: Integers) -> BenchError:
    frame = np.searchsorted(ends, positions.min(), side="right")
    return BenchError(f"frame {frame}: the run-length encoding cannot be decoded")
