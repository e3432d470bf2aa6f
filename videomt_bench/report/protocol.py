"""How a cost was measured, in words; cells of different protocols are never mixed silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from videomt_bench.report.records import canonical, cost_value
from videomt_bench.report.rows import Row

COST_METRICS = {
    "params": ("params", 1e-6),
    "gmacs": ("gmacs", 1.0),
    "fps": ("fps_model", 1.0),
}
"""Published cost -> the measured one, and the factor to the published unit."""
PLAIN = ("device", "precision", "input", "compile")
"""Fields whose values speak for themselves; the others are shown with their names."""
CLOCKS = {"fps_model": "clock: model only", "fps_end_to_end": "clock: end to end"}
COUNTING = ("input", "batch", "classes", "queries", "counter", "video_frames")
"""Fields that change a count of operations; the device and the clock do not."""
NOT_TIMING = ("clock", "counter", "memory", "deformable_attention", "video_frames")
"""Fields that say nothing of frames per second, or are a part's own: which kernel its deformable
attention has is a note of the cell. The clock is in the column's title."""


@dataclass(frozen=True)
class CostCell:
    """The mean over the seeds of a row that share its most frequent protocol."""

    value: float
    protocol: str
    """Canonical JSON of the fields that matter to the metric."""
    n_seeds: int
    dropped: int
    """Seeds left out because they were measured under another protocol."""
    deviation: float | None = None
    """Over the seeds; None with a single one."""


def relevant(protocol: object, metric: str) -> dict[str, Any]:
    """The fields of a protocol that matter to ``metric``."""
    if not isinstance(protocol, Mapping) or metric == "params":
        return {}
    if metric in ("gmacs", "state_bytes"):
        return {key: protocol[key] for key in COUNTING if key in protocol}
    return {key: value for key, value in protocol.items() if key not in NOT_TIMING}


@lru_cache(maxsize=10_000)
def cost_cell(row: Row, metric: str) -> CostCell | None:
    """One cost of a row; None where nothing was measured."""
    by_protocol: dict[str, list[float]] = {}
    known: dict[str, str] = {}
    for record in row.records:
        value = cost_value(record, metric)
        if value is not None and record.cost is not None:
            protocol = record.cost.get("protocol")
            if (text := repr(protocol)) not in known:
                known[text] = canonical(relevant(protocol, metric))
            by_protocol.setdefault(known[text], []).append(value)
    if not by_protocol:
        return None
    most = max(by_protocol, key=lambda key: (len(by_protocol[key]), key))
    values = by_protocol[most]
    dropped = sum(len(v) for v in by_protocol.values()) - len(values)
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return CostCell(sum(values) / len(values), most, len(values), dropped, deviation)


def kernels(row: Row) -> list[str]:
    """The kernels of deformable attention that the row was timed with."""
    protocols = [r.cost.get("protocol") for r in row.records if r.cost is not None]
    found = [p.get("deformable_attention") for p in protocols if isinstance(p, Mapping)]
    return sorted({str(name) for name in found if name})


def uncounted(row: Row) -> list[str]:
    """The operators that the row's count of operations leaves out."""
    found = [r.cost.get("uncounted") for r in row.records if r.cost is not None]
    return sorted({str(name) for names in found if isinstance(names, Mapping) for name in names})


def most_frequent(cells: Sequence[CostCell | None]) -> str | None:
    """The protocol of a column's header: the most frequent one, the first of equals."""
    counts = Counter(cell.protocol for cell in cells if cell is not None)
    return counts.most_common(1)[0][0] if counts else None


def field_text(key: str, value: Any) -> str:
    """One field in words: ``48×48``, ``fp32``, ``eager``, ``threads 1``."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = "×".join(str(v) for v in value)
    if key == "input":
        return str(value).replace("x", "×")
    if key == "compile":
        return f"compile {value}" if isinstance(value, str) else ("compiled" if value else "eager")
    return str(value) if key in PLAIN else f"{key.replace('_', ' ')} {value}"


def words(protocol: Mapping[str, Any], keys: Sequence[str] | None = None) -> list[str]:
    """The fields of a protocol in words, the plain ones first; only ``keys`` if given."""
    names = [k for k in PLAIN if k in protocol] + sorted(k for k in protocol if k not in PLAIN)
    return [
        field_text(name, protocol[name])
        for name in names
        if (keys is None or name in keys) and (name == "compile" or protocol[name] is not None)
    ]
