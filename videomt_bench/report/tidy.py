"""Every value of a table as one line of a data frame: what the CSV holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from videomt_bench.report.columns import COSTS, DETAILS, sample_sizes, size_text
from videomt_bench.report.protocol import CLOCKS, cost_cell
from videomt_bench.report.rows import Row, Setting

TIDY = (
    "setting", "row", "variant", "label", "origin", "metric", "value", "low", "high",
    "deviation", "n_seeds", "n", "unit", "seed_values", "protocol", "source", "note",
)  # fmt: skip
COST_UNITS = {"params": "M", "gmacs": "G", "fps_model": "frames/s", "fps_end_to_end": "frames/s"}


def tidy_table(setting: Setting, rows: Sequence[Row]) -> pd.DataFrame:
    """One line per value, measured or published, with all that belongs to it; empty is missing."""
    lines = [line for row in rows for line in _tidy_row(row)]
    table = pd.DataFrame(lines, columns=list(TIDY))
    table["setting"] = setting.slug or str(setting.dataset.get("name", ""))
    return table


def _tidy_row(row: Row) -> list[dict[str, Any]]:
    base = {"row": row.key, "variant": row.variant, "label": row.label}
    lines: list[dict[str, Any]] = []
    for metric in ("AP", *DETAILS):
        lines += _tidy_metric(row, metric)
    for metric, (_, factor) in COSTS.items():
        if (cell := cost_cell(row, metric)) is None:
            line: dict[str, Any] = {"note": row.missing()}
        else:
            protocol = cell.protocol if metric != "params" else ""
            line = {"value": cell.value * factor, "n_seeds": cell.n_seeds, "protocol": protocol}
            line["note"] = CLOCKS.get(metric, "")
        lines.append({"metric": metric, "unit": COST_UNITS[metric], **line})
    lines = [{"origin": "measured", **line} for line in lines]
    for metric, published in row.published.items():
        lines.append(
            {
                "origin": "paper",
                "metric": metric,
                "value": published.value,
                "unit": published.unit,
                "protocol": published.setting,
                "source": published.source,
                "note": "; ".join(published.notes),
            }
        )
    return [{**base, **line} for line in lines]


def _tidy_metric(row: Row, metric: str) -> list[dict[str, Any]]:
    """A metric's line; AP has one even where it is missing, with the reason."""
    if metric not in row.estimates:
        missing = {"metric": metric, "unit": "percent", "note": row.missing()}
        return [missing] if metric == "AP" else []
    estimate = row.estimates[metric]
    interval = estimate.interval
    return [
        {
            "metric": metric,
            "value": estimate.mean,
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "deviation": estimate.deviation,
            "n_seeds": len(estimate.per_seed),
            "n": size_text(sample_sizes(row, metric)),
            "unit": "percent",
            "seed_values": " ".join(f"{value:.4f}" for value in estimate.per_seed),
        }
    ]
