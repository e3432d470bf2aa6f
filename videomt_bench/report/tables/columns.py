"""The columns of the main table: measured, published and their difference; empty cells say why."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache

from videomt_bench.report.differences import main_metrics
from videomt_bench.report.protocol import (
    CostCell,
    cost_cell,
    kernels,
    most_frequent,
    uncounted,
    words,
)
from videomt_bench.report.records import metric_value
from videomt_bench.report.rows import Row, state_reason
from videomt_bench.report.statistics.estimates import Estimate
from videomt_bench.report.tables.comparable import to_published
from videomt_bench.report.tables.display import (
    DASH,
    Cell,
    Column,
    Display,
    Notes,
    fixed,
    interval_text,
    signed,
    significant,
)

MEASURED = "measured"
DIFFERENCE = ("measured − paper",)
COSTS = {
    "params": ("Params (M)", 1e-6),
    "gmacs": ("GMACs", 1.0),
    "state_bytes": ("State (KiB)", 1 / 1024),
    "fps_model": ("FPS, model only", 1.0),
    "fps_end_to_end": ("FPS, end to end", 1.0),
}
PAPER = {
    **{name: name for name in ("AP", "AP75", "AR10", "VPQ", "STQ", "mIoU", "mVC8", "mVC16")},
    "params": "Params (M)",
    "gmacs": "GFLOPs",
    "fps": "FPS",
}
RESULT_DETAILS = ("± over n seeds", "95 % interval")
"""What the header of a main metric says of its cells."""

Columns = list[tuple[Column, list[Cell]]]


def main_display(rows: Sequence[Row], notes: Notes, mix_protocols: bool = False) -> Display:
    """The table of the paper: results and cost as measured, beside the published row.

    With ``mix_protocols`` a cost of another protocol than its column's is shown and marked;
    without, its cell is empty and says so.
    """
    columns: Columns = [(Column("label", "Row"), [Cell(row.label) for row in rows])]
    metrics = main_metrics(rows)
    columns += [result_column(rows, metric, notes) for metric in metrics]
    columns.append(_videos_column(rows, metrics))
    columns += [_cost_column(rows, metric, notes, mix_protocols) for metric in shown_costs(rows)]
    return display_of(columns + _paper_columns(rows, notes) + _difference_columns(rows, notes))


def shown_costs(rows: Sequence[Row]) -> list[str]:
    """All costs, but the size of the state only where every row with a count has it."""
    counted = [row for row in rows if cost_cell(row, "gmacs") is not None]
    known = bool(counted) and all(cost_cell(row, "state_bytes") is not None for row in counted)
    return [metric for metric in COSTS if metric != "state_bytes" or known]


def display_of(columns: Columns) -> Display:
    """Columns as a table."""
    rows = [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    return Display([column for column, _ in columns], rows)


def seed_values(row: Row, metric: str) -> list[float]:
    """A metric in percent for the seeds that have it."""
    return list(row.estimates[metric].per_seed) if metric in row.estimates else []


@lru_cache(maxsize=10_000)
def sample_sizes(row: Row, metric: str) -> list[int]:
    """The sizes n that the metric's values name, without repeats."""
    return sorted({r.metrics[metric].n for r in row.records if metric_value(r, metric) is not None})


def size_text(sizes: Sequence[int]) -> str:
    """``112``, or ``112–118`` where the seeds differ."""
    return f"{sizes[0]}{DASH}{sizes[-1]}" if len(sizes) > 1 else str(sizes[0]) if sizes else DASH


def spread_text(estimate: Estimate) -> str:
    """``± 0.4 (n 3) [22.9, 30.1]``, as far as it is known."""
    parts = [over_seeds(estimate.deviation, len(estimate.per_seed), fixed)]
    if estimate.interval is not None:
        parts.append(interval_text(estimate.interval))
    return " ".join(parts)


def over_seeds(deviation: float | None, seeds: int, text: Callable[[float], str]) -> str:
    """The standard deviation over seeds, and how many: ``± 0.4 (n 3)`` or ``(n 1)``."""
    return f"(n {seeds})" if deviation is None else f"± {text(deviation)} (n {seeds})"


def empty(row: Row, notes: Notes) -> Cell:
    """A dash with the reason."""
    return Cell(DASH, (notes.letter(row.missing()),))


def result_column(rows: Sequence[Row], metric: str, notes: Notes) -> tuple[Column, list[Cell]]:
    """A main metric with its deviation over seeds, their number and its interval."""
    cells = []
    for row in rows:
        if metric not in row.estimates:
            cells.append(empty(row, notes))
            continue
        estimate = row.estimates[metric]
        marks = tuple(notes.letter(text) for text in _result_notes(row, metric))
        cells.append(Cell(fixed(estimate.mean), marks, spread_text(estimate)))
    return Column(metric, PAPER.get(metric, metric), RESULT_DETAILS, MEASURED), cells


def _result_notes(row: Row, metric: str) -> list[str]:
    """What a reader must know of a measured metric: seeds that are missing, no interval."""
    lost = [
        f"seed {record.spec['seed']}: {state_reason(record)}"
        for record in row.records
        if metric_value(record, metric) is None
    ]
    notes = []
    if lost:
        kept = len(row.records) - len(lost)
        notes.append(f"{kept} of {len(row.records)} seeds; {'; '.join(lost)}")
    if row.estimates[metric].interval is None:
        reasons = dict.fromkeys(problem.reason for problem in row.problems)
        notes.append(f"no interval: {'; '.join(reasons) or 'its seeds have different videos'}")
    return notes


def _videos_column(rows: Sequence[Row], metrics: Sequence[str]) -> tuple[Column, list[Cell]]:
    sizes = [sorted({n for metric in metrics for n in sample_sizes(row, metric)}) for row in rows]
    return Column("n_videos", "Videos", (), MEASURED), [Cell(size_text(size)) for size in sizes]


def _cost_column(
    rows: Sequence[Row], metric: str, notes: Notes, mix_protocols: bool
) -> tuple[Column, list[Cell]]:
    title, _ = COSTS[metric]
    cells = [cost_cell(row, metric) for row in rows]
    header = most_frequent(cells)
    column = Column(metric, title, _protocol_details(metric, header), MEASURED)
    shown = []
    for row, cell in zip(rows, cells, strict=True):
        if cell is None:
            shown.append(empty(row, notes))
        elif cell.protocol != header and not mix_protocols:
            text = f"protocol differs from the column's: {_protocol_words(cell)}"
            shown.append(Cell(DASH, (notes.letter(text),)))
        else:
            shown.append(_cost_shown(row, cell, metric, header, notes))
    return column, shown


def _cost_shown(row: Row, cell: CostCell, metric: str, header: str | None, notes: Notes) -> Cell:
    factor = COSTS[metric][1]
    marks = _cost_marks(cell, header, notes)
    if metric == "gmacs" and (names := uncounted(row)):
        marks.append(notes.letter(f"without the uncounted operators {', '.join(names)}"))
    spread = ""
    if metric.startswith("fps_"):
        spread = over_seeds(cell.deviation, cell.n_seeds, significant)
        if names := kernels(row):
            marks.append(notes.letter(f"deformable attention by {', '.join(names)}"))
    return Cell(significant(cell.value * factor), tuple(marks), spread)


def _cost_marks(cell: CostCell, header: str | None, notes: Notes) -> list[str]:
    marks = []
    if cell.protocol != header:
        marks.append(notes.dagger(f"measured under another protocol: {_protocol_words(cell)}"))
    if cell.dropped:
        total = cell.n_seeds + cell.dropped
        marks.append(
            notes.letter(
                f"mean over {cell.n_seeds} of {total} seeds; the others were measured under "
                "another protocol"
            )
        )
    return marks


def _protocol_words(cell: CostCell) -> str:
    return ", ".join(words(json.loads(cell.protocol))) or "not recorded"


def _protocol_details(metric: str, header: str | None) -> tuple[str, ...]:
    """What the header of a cost column says of its protocol."""
    if header is None or metric == "params":
        return ()
    protocol = json.loads(header)
    if not protocol:
        return ("protocol not recorded",)
    keys = (
        ("input",)
        if metric in ("gmacs", "state_bytes")
        else ("device", "precision", "input", "compile")
    )
    return tuple(words(protocol, keys))


def _paper_columns(rows: Sequence[Row], notes: Notes) -> Columns:
    settings = {cell.setting for row in rows for cell in row.published.values()}
    group = f"paper, {settings.pop()}" if len(settings) == 1 else "paper"
    return [
        (Column(f"paper_{m}", PAPER[m], (), group), _paper_cells(rows, m, group, notes))
        for m in published_metrics(rows)
    ]


def published_metrics(rows: Sequence[Row]) -> list[str]:
    """The metrics that any row has a published number of."""
    return [metric for metric in PAPER if any(metric in row.published for row in rows)]


def _paper_cells(rows: Sequence[Row], metric: str, group: str, notes: Notes) -> list[Cell]:
    common = shared_notes(rows, metric)
    cells = []
    for row in rows:
        cell = row.published.get(metric)
        if cell is None:
            cells.append(Cell(DASH, (notes.letter("no published number"),)))
            continue
        texts = [note for note in cell.notes if note not in common]
        if group == "paper":
            texts.insert(0, f"published for {cell.setting}")
        cells.append(Cell(cell.text, tuple(notes.letter(f"paper: {text}") for text in texts)))
    return cells


def shared_notes(rows: Sequence[Row], metric: str) -> list[str]:
    """The notes that all published cells of a column carry."""
    cells = [row.published[metric] for row in rows if metric in row.published]
    return [note for note in cells[0].notes if all(note in c.notes for c in cells)] if cells else []


def _difference_columns(rows: Sequence[Row], notes: Notes) -> Columns:
    """Measured minus published, for the metrics of which any row has both in one setting."""
    columns: Columns = []
    for metric in published_metrics(rows):
        found = [to_published(row, metric) if metric in row.published else "" for row in rows]
        if any(isinstance(value, float) for value in found):
            cells = [
                _difference_cell(row, metric, value, notes)
                for row, value in zip(rows, found, strict=True)
            ]
            columns.append((Column(f"delta_{metric}", f"Δ{PAPER[metric]}", DIFFERENCE), cells))
    return columns


def _difference_cell(row: Row, metric: str, value: float | str, notes: Notes) -> Cell:
    if isinstance(value, float):
        return Cell(signed(value, _decimals(row.published[metric].text)))
    return Cell(DASH, (notes.letter(value or "no published number"),))


def _decimals(text: str) -> int:
    """Those of the published number, which is all that can be told of the difference."""
    return len(text.partition(".")[2])
