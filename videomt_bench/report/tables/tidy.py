"""Every value of a table as one line of a data frame: what the CSV holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from videomt_bench.report.differences import Difference, main_metrics
from videomt_bench.report.protocol import CLOCKS, cost_cell
from videomt_bench.report.published import PublishedCell
from videomt_bench.report.rows import Row, Setting
from videomt_bench.report.statistics.estimates import Estimate
from videomt_bench.report.tables.columns import COSTS, sample_sizes, size_text
from videomt_bench.report.tables.comparable import to_published
from videomt_bench.report.tables.details import DETAILS, Differences

TIDY = (
    "setting", "row", "variant", "label", "origin", "metric", "value", "low", "high",
    "deviation", "n_seeds", "n", "unit", "seed_values", "p", "p_corrected", "protocol", "source",
    "note",
)  # fmt: skip
COST_UNITS = {
    "params": "M",
    "gmacs": "G",
    "state_bytes": "KiB",
    "fps_model": "frames/s",
    "fps_end_to_end": "frames/s",
}
ORIGINS = ("measured", "paper", "measured - paper", "to the row above")
"""Of a line's value."""

Line = dict[str, Any]


def tidy_table(
    setting: Setting, rows: Sequence[Row], differences: Differences | None = None
) -> pd.DataFrame:
    """One line per value, of any of ORIGINS, with all that belongs to it; empty is missing."""
    metrics = main_metrics(rows)
    lines = []
    for i, row in enumerate(rows):
        own = {metric: (differences or {}).get((i, metric)) for metric in metrics}
        found = [*_measured(row, metrics), *_published(row)]
        found += [_to_row_above(m, d) for m, d in own.items() if isinstance(d, Difference)]
        base = {"row": row.key, "variant": row.variant, "label": row.label}
        lines += [{**base, **line} for line in found]
    table = pd.DataFrame(lines, columns=list(TIDY))
    table["setting"] = setting.slug or str(setting.dataset.get("name", ""))
    return table


def _measured(row: Row, metrics: Sequence[str]) -> list[Line]:
    lines = [line for metric in (*metrics, *DETAILS) for line in _result(row, metric, metrics)]
    for metric, (_, factor) in COSTS.items():
        cell = cost_cell(row, metric)
        if cell is None and metric == "state_bytes":
            continue  # older records do not know it
        if cell is None:
            line: Line = {"note": row.missing()}
        else:
            line = {
                "value": cell.value * factor,
                "deviation": None if cell.deviation is None else cell.deviation * factor,
                "n_seeds": cell.n_seeds,
                "protocol": cell.protocol if metric != "params" else "",
                "note": CLOCKS.get(metric, ""),
            }
        lines.append({"metric": metric, "unit": COST_UNITS[metric], **line})
    return [{"origin": "measured", **line} for line in lines]


def _result(row: Row, metric: str, metrics: Sequence[str]) -> list[Line]:
    """A metric's line; a main one has one even where it is missing, with the reason."""
    if metric not in row.estimates:
        missing = {"metric": metric, "unit": "percent", "note": row.missing()}
        return [missing] if metric in metrics else []
    return [
        {
            "metric": metric,
            **_spread(row.estimates[metric]),
            "n": size_text(sample_sizes(row, metric)),
            "unit": "percent",
        }
    ]


def _spread(estimate: Estimate) -> Line:
    interval = estimate.interval
    return {
        "value": estimate.mean,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "deviation": estimate.deviation,
        "n_seeds": len(estimate.per_seed),
        "seed_values": " ".join(f"{value:.4f}" for value in estimate.per_seed),
    }


def _published(row: Row) -> list[Line]:
    lines = []
    for metric, cell in row.published.items():
        lines.append(_paper_line(metric, cell))
        if isinstance(value := to_published(row, metric), float):
            lines.append(
                {
                    "origin": "measured - paper",
                    "metric": metric,
                    "value": value,
                    "unit": cell.unit,
                    "protocol": cell.setting,
                }
            )
    return lines


def _paper_line(metric: str, cell: PublishedCell) -> Line:
    return {
        "origin": "paper",
        "metric": metric,
        "value": cell.value,
        "unit": cell.unit,
        "protocol": cell.setting,
        "source": cell.source,
        "note": "; ".join(cell.notes),
    }


def _to_row_above(metric: str, found: Difference) -> Line:
    return {
        "origin": "to the row above",
        "metric": metric,
        **_spread(found.estimate),
        "n": found.estimate.n_videos or "",
        "unit": "percent",
        "p": found.p,
        "p_corrected": found.p_corrected,
        "note": f"seeds {' '.join(map(str, found.seeds))}",
    }
