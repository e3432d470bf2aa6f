"""Published numbers, each with its source; they are never mixed with measured ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from videomt_bench.errors import BenchError, unknown
from videomt_bench.shipped import shipped

COLUMNS = ["table", "row", "metric", "value", "unit", "setting", "source", "note"]


@dataclass(frozen=True)
class PublishedCell:
    """One printed number as it stands in the paper; ``text`` keeps its decimals."""

    value: float
    text: str
    unit: str
    setting: str
    source: str
    notes: tuple[str, ...]


def load_published(name: str) -> pd.DataFrame:
    """The published table ``name``: the columns of ``COLUMNS``, all text but ``value``.

    Raises:
        BenchError: no such table, its file is damaged, or the installation lacks the folder.
    """
    files = {path.stem: path for path in shipped("results/published").glob("*.csv")}
    if name not in files:
        raise unknown("published table", name, files)
    try:
        table = pd.read_csv(files[name], dtype=str, keep_default_na=False)
        if list(table.columns) != COLUMNS:
            raise ValueError(f"its columns are {list(table.columns)}; wanted: {COLUMNS}")
        table["text"] = table["value"]
        table["value"] = table["value"].astype(float)
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot read {files[name]}: {error}") from None
    return table


def published_cells(
    table: pd.DataFrame, row: str, setting: str | None = None
) -> Mapping[str, PublishedCell]:
    """The cells of one row by metric: ``AP`` (percent), ``params`` (M), ``gmacs`` (G), ``fps``.

    Raises:
        BenchError: the row is printed for several settings and ``setting`` names none of them.
    """
    lines = table[table["row"] == row]
    if setting is not None and len(lines):
        if setting not in set(lines["setting"]):
            raise unknown(f"setting of the published row {row!r}", setting, set(lines["setting"]))
        lines = lines[lines["setting"] == setting]
    if lines["metric"].duplicated().any():
        raise BenchError(
            f"the published row {row!r} has several settings; name one with 'setting': "
            + ", ".join(sorted(set(lines["setting"])))
        )
    return {
        line.metric: PublishedCell(
            value=float(line.value),
            text=line.text,
            unit=line.unit,
            setting=line.setting,
            source=line.source,
            notes=tuple(part for part in line.note.split("; ") if part),
        )
        for line in lines.itertuples(index=False)
    }


def dataset_of(cell: PublishedCell) -> str:
    """The data set in a published setting: the last of its parts."""
    return cell.setting.rpartition(", ")[2]


def other_rows(
    name: str, known: Collection[Mapping[str, PublishedCell]]
) -> Iterator[tuple[str, str, Mapping[str, PublishedCell]]]:
    """Row, encoder and cells of what a published table has besides ``known`` on its data sets.

    Raises:
        BenchError: see :func:`load_published`.
    """
    datasets = {dataset_of(cell) for cells in known for cell in cells.values()}
    table = load_published(name)
    for row, setting in dict.fromkeys(zip(table["row"], table["setting"], strict=True)):
        encoder, _, dataset = setting.rpartition(", ")
        if dataset in datasets:
            cells = published_cells(table, row, setting)
            if cells not in known:
                yield row, encoder.rpartition(", ")[2], cells
