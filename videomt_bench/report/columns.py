"""The columns of a table: measured, published and in detail; every empty cell says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from videomt_bench.report.display import (
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
from videomt_bench.report.statistics import Estimate, paired_difference

MEASURED = "measured"
COSTS = {
    "params": ("Params (M)", 1e-6),
    "gmacs": ("GMACs", 1.0),
    "fps_model": ("FPS, model only", 1.0),
    "fps_end_to_end": ("FPS, end to end", 1.0),
}
PAPER = {"AP": "AP", "params": "Params (M)", "gmacs": "GFLOPs", "fps": "FPS"}
DETAILS = {
    "AP50": ("AP50", "videos"),
    "AR10": ("AR10", "videos"),
    "recall": ("Recall", "objects"),
    "recall_first_frame": ("Recall, first frame", "objects"),
    "recall_late": ("Recall, late objects", "objects"),
    "recall_gap": ("Recall, with gap", "objects"),
    "iou_first_quarter": ("IoU, first quarter", ""),
    "iou_last_quarter": ("IoU, last quarter", ""),
}


def main_display(rows: Sequence[Row], notes: Notes) -> Display:
    """The table of the paper: AP and cost as measured, beside the published row."""
    label = [Cell(row.label) for row in rows]
    columns = [(Column("label", "Row"), label), *_ap_columns(rows, notes)]
    columns += [_cost_column(rows, metric, notes) for metric in COSTS]
    return _display(columns + _paper_columns(rows, notes))


def detail_display(rows: Sequence[Row], notes: Notes) -> Display:
    """What AP hides: paired differences, recall of late objects and of gaps, drift."""
    columns = [(Column("label", "Row"), [Cell(row.label) for row in rows])]
    if any(row.ap and row.ap.samples for row in rows):
        columns.append(_difference_column(rows, notes))
    for metric in DETAILS:
        if any(seed_values(row, metric) for row in rows):
            columns.append(_detail_column(rows, metric, notes))
    return _display(columns)


def _display(columns: Sequence[tuple[Column, Sequence[Cell]]]) -> Display:
    rows = [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    return Display([column for column, _ in columns], rows)


def seed_values(row: Row, metric: str) -> list[float]:
    """A metric in percent for the seeds that have it."""
    return list(row.estimates[metric].per_seed) if metric in row.estimates else []


def measured_seeds(row: Row) -> list[int]:
    """The seeds that have an AP."""
    return [r.spec["seed"] for r in row.records if metric_value(r, "AP") is not None]


def sample_sizes(row: Row, metric: str) -> list[int]:
    """The sizes n that the metric's values name, without repeats."""
    return sorted({r.metrics[metric].n for r in row.records if metric_value(r, metric) is not None})


def size_text(sizes: Sequence[int]) -> str:
    """``112``, or ``112–118`` where the seeds differ."""
    return f"{sizes[0]}{DASH}{sizes[-1]}" if len(sizes) > 1 else str(sizes[0]) if sizes else DASH


def spread_text(estimate: Estimate) -> str:
    """The interval, else the deviation over seeds, else nothing."""
    if estimate.interval is not None:
        return interval_text(estimate.interval)
    return "" if estimate.deviation is None else f"± {fixed(estimate.deviation)}"


def _empty(row: Row, notes: Notes) -> Cell:
    return Cell(DASH, (notes.letter(row.missing()),))


def _ap_columns(rows: Sequence[Row], notes: Notes) -> list[tuple[Column, list[Cell]]]:
    values, seeds, videos = [], [], []
    for row in rows:
        if row.ap is None:
            values.append(_empty(row, notes))
            seeds.append(Cell(DASH))
            videos.append(Cell(DASH))
            continue
        marks = [notes.letter(text) for text in _ap_notes(row)]
        values.append(Cell(fixed(row.ap.mean), tuple(marks), spread_text(row.ap)))
        seeds.append(Cell(str(len(row.ap.per_seed))))
        videos.append(Cell(size_text(sample_sizes(row, "AP"))))
    return [
        (Column("AP", "AP", ("95 % interval",), MEASURED), values),
        (Column("n_seeds", "Seeds", (), MEASURED), seeds),
        (Column("n_videos", "Videos", (), MEASURED), videos),
    ]


def _ap_notes(row: Row) -> list[str]:
    """What a reader must know of a measured AP: seeds that are missing, no interval."""
    lost = [
        f"seed {record.spec['seed']}: {state_reason(record)}"
        for record in row.records
        if metric_value(record, "AP") is None
    ]
    notes = []
    if lost:
        kept = len(row.records) - len(lost)
        notes.append(f"{kept} of {len(row.records)} seeds; {'; '.join(lost)}")
    if row.ap and row.ap.interval is None:
        reasons = dict.fromkeys(problem.reason for problem in row.problems)
        notes.append(f"no interval: {'; '.join(reasons) or 'its seeds have different videos'}")
    return notes


def _cost_column(rows: Sequence[Row], metric: str, notes: Notes) -> tuple[Column, list[Cell]]:
    title, factor = COSTS[metric]
    cells = [cost_cell(row, metric) for row in rows]
    header = most_frequent(cells)
    column = Column(metric, title, _protocol_details(metric, header), MEASURED)
    shown = []
    for row, cell in zip(rows, cells, strict=True):
        if cell is None:
            shown.append(_empty(row, notes))
            continue
        text = significant(cell.value * factor)
        marks = _cost_marks(cell, metric, header, notes)
        if metric == "gmacs" and (names := uncounted(row)):
            marks.append(notes.letter(f"without the uncounted operators {', '.join(names)}"))
        if metric.startswith("fps_") and (names := kernels(row)):
            marks.append(notes.letter(f"deformable attention by {', '.join(names)}"))
        shown.append(Cell(text, tuple(marks)))
    return column, shown


def _protocol_details(metric: str, header: str | None) -> tuple[str, ...]:
    """What the header of a cost column says of its protocol."""
    if header is None or metric == "params":
        return ()
    protocol = json.loads(header)
    if not protocol:
        return ("protocol not recorded",)
    keys = ("input",) if metric == "gmacs" else ("device", "precision", "input", "compile")
    return tuple(words(protocol, keys))


def _cost_marks(cell: CostCell, metric: str, header: str | None, notes: Notes) -> list[str]:
    marks = []
    if cell.protocol != header:
        protocol = ", ".join(words(json.loads(cell.protocol))) or "not recorded"
        marks.append(notes.dagger(f"measured under another protocol: {protocol}"))
    if cell.dropped:
        total = cell.n_seeds + cell.dropped
        marks.append(
            notes.letter(
                f"mean over {cell.n_seeds} of {total} seeds; the others were measured under "
                "another protocol"
            )
        )
    return marks


def _paper_columns(rows: Sequence[Row], notes: Notes) -> list[tuple[Column, list[Cell]]]:
    metrics = [m for m in PAPER if any(m in row.published for row in rows)]
    settings = {cell.setting for row in rows for cell in row.published.values()}
    group = f"paper, {settings.pop()}" if len(settings) == 1 else "paper"
    return [
        (Column(f"paper_{m}", PAPER[m], (), group), _paper_cells(rows, m, group, notes))
        for m in metrics
    ]


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


def _difference_column(rows: Sequence[Row], notes: Notes) -> tuple[Column, list[Cell]]:
    cells = [Cell(DASH)]
    for above, row in pairwise(rows):
        difference = ap_difference(row, above)
        if difference is None:
            cells.append(Cell(DASH, (notes.letter("no pair of runs on the same seeds"),)))
        else:
            cells.append(Cell(signed(difference.mean), (), spread_text(difference)))
    details = ("paired", "95 % interval")
    return Column("difference", "ΔAP to the row above", details, MEASURED), cells


def ap_difference(row: Row, other: Row) -> Estimate | None:
    """AP of ``row`` minus AP of ``other``, paired over seeds and videos; None without pairs."""
    if row.ap is None or other.ap is None:
        return None
    same_seeds = measured_seeds(row) == measured_seeds(other)
    same_videos = sample_sizes(row, "AP") == sample_sizes(other, "AP")
    return paired_difference(row.ap, other.ap) if same_seeds and same_videos else None


def _detail_column(rows: Sequence[Row], metric: str, notes: Notes) -> tuple[Column, list[Cell]]:
    title, what = DETAILS[metric]
    sizes = {tuple(sample_sizes(row, metric)) for row in rows if seed_values(row, metric)}
    uniform = len(sizes) == 1
    details = (f"n = {size_text(sizes.pop())} {what}".strip(),) if uniform else ()
    cells = []
    for row in rows:
        if metric not in row.estimates:
            cells.append(_empty(row, notes))
            continue
        estimate = row.estimates[metric]
        size = "" if uniform else f" (n {size_text(sample_sizes(row, metric))})"
        cells.append(Cell(fixed(estimate.mean) + size, (), spread_text(estimate)))
    return Column(metric, title, details, MEASURED), cells
