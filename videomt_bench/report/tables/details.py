"""The columns of the second table: what AP hides, and which differences are beyond noise."""

from __future__ import annotations

from collections.abc import Sequence

from videomt_bench.report.differences import SIGNIFICANT, Difference, main_metrics
from videomt_bench.report.rows import Row
from videomt_bench.report.tables.columns import (
    MEASURED,
    Columns,
    display_of,
    empty,
    sample_sizes,
    seed_values,
    size_text,
    spread_text,
)
from videomt_bench.report.tables.display import (
    DASH,
    Cell,
    Column,
    Display,
    Notes,
    fixed,
    interval_text,
    p_text,
    signed,
)

BEYOND = "*"
DETAILS = {
    "AP50": ("AP50", "videos"),
    "AP75": ("AP75", "videos"),
    "AR10": ("AR10", "videos"),
    "recall": ("Recall", "objects"),
    "recall_first_frame": ("Recall, first frame", "objects"),
    "recall_late": ("Recall, late objects", "objects"),
    "recall_gap": ("Recall, with gap", "objects"),
    "iou_first_quarter": ("IoU, first quarter", ""),
    "iou_last_quarter": ("IoU, last quarter", ""),
    "VPQ_thing": ("VPQ, things", "videos"),
    "VPQ_stuff": ("VPQ, stuff", "videos"),
    "AQ": ("AQ", "videos"),
    "SQ": ("SQ", "videos"),
    "STQ_corrected": ("STQ, corrected", "videos"),
    "fwIoU": ("fwIoU", "videos"),
    "mVC16_clean": ("mVC16, windows of 16 alone", "videos"),
}

Differences = dict[tuple[int, str], Difference | str]
"""Row and metric -> the difference to the row above, or why there is none."""


def detail_display(rows: Sequence[Row], differences: Differences, notes: Notes) -> Display:
    """Paired differences of the main metrics, recall of late objects and of gaps, drift, parts."""
    columns: Columns = [(Column("label", "Row"), [Cell(row.label) for row in rows])]
    metrics = main_metrics(rows)
    for metric in metrics:
        if any(isinstance(d, Difference) for (_, name), d in differences.items() if name == metric):
            key = "difference" if metric == "AP" else f"difference_{metric}"
            column = Column(
                key, f"Δ{metric} to the row above", ("paired", "95 % interval"), MEASURED
            )
            cells = [
                _difference_cell(differences.get((i, metric)), notes) for i in range(len(rows))
            ]
            columns.append((column, cells))
    for metric in DETAILS:
        if any(seed_values(row, metric) for row in rows):
            columns.append(_detail_column(rows, metric, notes))
    return display_of(columns)


def _difference_cell(found: Difference | str | None, notes: Notes) -> Cell:
    if found is None:
        return Cell(DASH)
    if isinstance(found, str):
        return Cell(DASH, (notes.letter(found),))
    marks = []
    if found.is_beyond_noise:
        text = f"beyond noise: p < {SIGNIFICANT} after correction for the table's comparisons"
        marks.append(notes.sign(BEYOND, text))
    if len(found.seeds) == 1:
        marks.append(notes.letter("of one seed: training again may give another difference"))
    parts = [f"(n {len(found.seeds)})"]
    if found.estimate.interval is not None:
        parts.append(interval_text(found.estimate.interval))
    if found.p_corrected is not None:
        parts.append(p_text(found.p_corrected))
    return Cell(signed(found.estimate.mean), tuple(marks), " ".join(parts))


def _detail_column(rows: Sequence[Row], metric: str, notes: Notes) -> tuple[Column, list[Cell]]:
    title, what = DETAILS[metric]
    sizes = {tuple(sample_sizes(row, metric)) for row in rows if seed_values(row, metric)}
    uniform = len(sizes) == 1
    details = (f"{size_text(sizes.pop())} {what}".strip(),) if uniform and what else ()
    cells = []
    for row in rows:
        if metric not in row.estimates:
            cells.append(empty(row, notes))
            continue
        estimate = row.estimates[metric]
        size = "" if uniform else f" (of {size_text(sample_sizes(row, metric))})"
        cells.append(Cell(fixed(estimate.mean) + size, (), spread_text(estimate)))
    return Column(metric, title, details, MEASURED), cells
