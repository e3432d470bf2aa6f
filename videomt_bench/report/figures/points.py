"""The values that figures draw: accuracy and speed of every row, measured and published apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from videomt_bench.report.printable import printable
from videomt_bench.report.protocol import cost_cell, most_frequent, words
from videomt_bench.report.published import PublishedCell, dataset_of, other_rows
from videomt_bench.report.rows import Row
from videomt_bench.report.statistics.estimates import Interval
from videomt_bench.report.systems import family_of, system_label

MEASURED = "measured"
PUBLISHED = "published"
HEADLINES = (("AP",), ("VPQ", "STQ"), ("mIoU", "mVC16"))
"""The metrics that a task is judged by, the main one first."""
DATASETS = {
    "ytvis_2019": "YouTube-VIS 2019",
    "ytvis_2021": "YouTube-VIS 2021",
    "ytvis_2022": "YouTube-VIS 2022",
    "ovis": "OVIS",
    "vipseg": "VIPSeg",
    "vspw": "VSPW",
}
"""Names of data sets in records and as the published tables print them."""


@dataclass(frozen=True)
class Point:
    """One row of one origin, with what of it is known: accuracy in percent, frames per second."""

    origin: str
    variant: str
    label: str
    size: str
    accuracy: Mapping[str, float]
    """By metric."""
    intervals: Mapping[str, Interval]
    fps: float | None
    params: float | None
    """In millions."""
    other_protocol: bool = False
    """Whether the speed was measured otherwise than that of most rows."""

    @property
    def family(self) -> str:
        """How the system carries identities."""
        return family_of(self.variant)


def headlines(rows: Sequence[Row]) -> tuple[str, ...]:
    """The metrics of the rows' task, main one first: those of the first task with any value."""
    for metrics in HEADLINES:
        found = tuple(m for m in metrics if any(m in r.estimates or m in r.published for r in rows))
        if found:
            return found
    return ()


def measured_points(rows: Sequence[Row]) -> list[Point]:
    """One point for each row with a measured headline metric or speed."""
    metrics = headlines(rows)
    speeds = [cost_cell(row, "fps_model") for row in rows]
    usual = most_frequent(speeds)
    points = []
    for row, speed in zip(rows, speeds, strict=True):
        estimates = {m: row.estimates[m] for m in metrics if m in row.estimates}
        if not estimates and speed is None:
            continue
        params = cost_cell(row, "params")
        points.append(
            Point(
                origin=MEASURED,
                variant=row.variant,
                label=row.label,
                size=row.size,
                accuracy={m: e.mean for m, e in estimates.items()},
                intervals={m: e.interval for m, e in estimates.items() if e.interval is not None},
                fps=speed.value if speed else None,
                params=params.value * 1e-6 if params else None,
                other_protocol=speed is not None and speed.protocol != usual,
            )
        )
    return points


def published_points(rows: Sequence[Row]) -> list[Point]:
    """One point for each row with a published headline metric or speed."""
    metrics = headlines(rows)
    found = [_published(row.variant, row.label, row.size, row.published, metrics) for row in rows]
    return [point for point in found if point is not None]


def other_published_points(rows: Sequence[Row], table: str | None) -> list[Point]:
    """The rows of a published table on the same data set that are no row of this table."""
    if table is None:
        return []
    metrics = headlines(rows)
    points = [
        _published(name, system_label(name, encoder), "", cells, metrics)
        for name, encoder, cells in other_rows(table, [row.published for row in rows])
    ]
    return [point for point in points if point is not None]


def _published(
    variant: str,
    label: str,
    size: str,
    cells: Mapping[str, PublishedCell],
    metrics: Sequence[str],
) -> Point | None:
    accuracy = {m: cells[m].value for m in metrics if m in cells}
    if not accuracy and "fps" not in cells:
        return None
    fps, params = (cells[m].value if m in cells else None for m in ("fps", "params"))
    return Point(PUBLISHED, variant, label, size, accuracy, {}, fps, params)


def same_dataset(rows: Sequence[Row]) -> bool:
    """Whether measured and published accuracy are of one data set, so that one axis serves both."""
    measured = {DATASETS.get(str(r.group.spec["dataset"].get("name"))) for r in rows if r.group}
    return len(measured | set(published_datasets(rows))) == 1


def published_datasets(rows: Sequence[Row]) -> list[str]:
    """The data sets of the published values."""
    return list(dict.fromkeys(dataset_of(c) for row in rows for c in row.published.values()))


def published_setting(rows: Sequence[Row]) -> str:
    """What the published values are of, in words."""
    settings = dict.fromkeys(cell.setting for row in rows for cell in row.published.values())
    if len(settings) == 1:
        return next(iter(settings))
    return ", ".join(published_datasets(rows))


def measured_setting(rows: Sequence[Row]) -> str:
    """What the measured values are of: the data set."""
    names = dict.fromkeys(str(r.group.spec["dataset"].get("name")) for r in rows if r.group)
    return printable(", ".join(DATASETS.get(name, name) for name in names))


def speed_protocol(rows: Sequence[Row], origin: str) -> str:
    """How most speeds of an origin were measured, in words; empty where there are none."""
    if origin == PUBLISHED:
        notes = dict.fromkeys(
            row.published["fps"].notes[0]
            for row in rows
            if "fps" in row.published and row.published["fps"].notes
        )
        return next(iter(notes), "")
    header = most_frequent([cost_cell(row, "fps_model") for row in rows])
    wanted = ("device", "precision", "input", "compile")
    return printable(", ".join(words(json.loads(header), wanted))) if header else ""
