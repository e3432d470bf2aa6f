"""The cost over a list of frame sizes, as the papers average over the frames of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videomt_bench.cost.measure import check_size, measure_cost
from videomt_bench.cost.names import ordered
from videomt_bench.errors import BenchError
from videomt_bench.models.video import VideoSegmenter


@dataclass(frozen=True)
class Size:
    """A padded frame size in pixels, how many frames have it, and where it was read."""

    height: int
    width: int
    count: int = 1
    where: str = ""


def read_sizes(file: Path) -> list[Size]:
    """Sizes of padded frames, one ``HxW`` or ``HxW count`` per line, each size once.

    Empty lines and what follows a ``#`` are left out.

    Raises:
        BenchError: a line that is neither, or no size at all.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise BenchError(f"{file}: not a text file in UTF-8") from None
    sizes: dict[tuple[int, int], Size] = {}
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            new = _size(text, f"{file}, line {number}: ")
            key = (new.height, new.width)
            old = sizes.get(key)
            sizes[key] = Size(*key, old.count + new.count, old.where) if old else new
    if not sizes:
        raise BenchError(f"{file}: no frame size; write one HxW or 'HxW count' per line")
    return list(sizes.values())


def one_of(size: tuple[int, int] | None, file: Path | None) -> list[Size]:
    """The sizes of a command that takes either a height and width, or a file of them.

    Raises:
        BenchError: both or neither, or a bad line of the file.
    """
    if size is not None and file is None:
        return [Size(*size)]
    if file is not None and size is None:
        return read_sizes(file)
    given = "neither" if size is None else "both"
    raise BenchError(f"one of --input HxW and --inputs FILE is needed, and {given} is given")


def _size(text: str, where: str) -> Size:
    size, *count = text.lower().split()
    numbers = [*size.split("x"), *(count or ["1"])]
    if len(numbers) != 3 or not all(n.isascii() and n.isdecimal() and int(n) for n in numbers):
        raise BenchError(f"{where}{text!r} is not HxW or 'HxW count', such as '448x800 12'")
    height, width, frames = map(int, numbers)
    return Size(height, width, frames, where)


def measure_inputs(model: VideoSegmenter, sizes: Sequence[Size], **options: Any) -> dict[str, Any]:
    """``measure_cost`` of every size once, averaged over the frames.

    Operations and mean milliseconds are means over frames, frames per second come from the mean
    milliseconds, memory is the largest; a median of several sizes is not known and None. The
    protocol's ``inputs`` lists height, width and count of every size that a file named.

    Args:
        sizes: different sizes of padded frames.
        options: as ``measure_cost`` takes them.

    Raises:
        BenchError: a size that the model does not take, or what ``measure_cost`` raises.
    """
    for size in sizes:
        check_size(model, size.height, size.width, size.where)
    costs = [measure_cost(model, size.height, size.width, **options) for size in sizes]
    cost = costs[0]
    if len(costs) > 1:
        total = sum(size.count for size in sizes)
        cost = cost | _averaged(costs, [size.count / total for size in sizes])
        cost["protocol"]["input"] = ", ".join(f"{s.count} of {s.height}x{s.width}" for s in sizes)
    if len(costs) > 1 or sizes[0].where:
        cost["protocol"]["inputs"] = [[s.height, s.width, s.count] for s in sizes]
    return cost


def _averaged(costs: Sequence[dict[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    """What depends on the size of a frame."""
    names = ("gmacs", "gflops", "by_operator", "components", "milliseconds")
    mean = {name: _mean([cost[name] for cost in costs], weights) for name in names}
    mean["components"] = {
        name: mean["components"][name] | {"params": _parameters(costs, name)}
        for name in ordered(mean["components"])
    }
    for times in filter(None, mean["milliseconds"].values()):
        times["median"] = None
    uncounted: Counter[str] = Counter()
    for cost in costs:
        uncounted |= Counter(cost["uncounted"])
    memory = [cost["peak_memory_mib"] for cost in costs]
    return mean | {
        "uncounted": dict(uncounted),
        "fps": {k: v and 1000 / v["mean"] for k, v in mean["milliseconds"].items()},
        "peak_memory_mib": None if None in memory else max(memory),
    }


def _parameters(costs: Sequence[dict[str, Any]], component: str) -> int:
    return next(c["components"][component] for c in costs if component in c["components"])["params"]


def _mean(values: Sequence[Any], weights: Sequence[float]) -> Any:
    """The weighted mean of numbers, or of dicts key by key; what a dict lacks is zero.

    None if any value is None.
    """
    if any(value is None for value in values):
        return None
    if any(isinstance(value, dict) for value in values):
        tables = [value or {} for value in values]
        keys = dict.fromkeys(key for table in tables for key in table)
        return {key: _mean([table.get(key, 0.0) for table in tables], weights) for key in keys}
    return sum(value * weight for value, weight in zip(values, weights, strict=True))
