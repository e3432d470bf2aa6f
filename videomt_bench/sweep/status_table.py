"""The status of a sweep for a console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from videomt_bench.runs.stages import STAGES
from videomt_bench.sweep.status import Row, Status

MARKS = {
    "done": "[green]done[/]",
    "running": "[cyan]running[/]",
    "waiting": "[yellow]waiting[/]",
    "failed": "[red]failed[/]",
    "blocked": "[dim]blocked[/]",
    "planned": "[dim]–[/]",
}


def status_table(status: Status, most: int | None = None) -> RenderableType:
    """A line per run, and the last log lines of those that failed.

    Args:
        most: lines to show; those that run or failed come first.
    """
    rows = status.rows if most is None else sorted(status.rows, key=_rank)[:most]
    table = Table(box=None, header_style="bold")
    names = [name for name in STAGES if any(name in row.stages for row in status.rows)]
    for column in ("run", *names, "step", "left", "last", "node", "reason"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            escape(row.run_id),
            *(MARKS[row.stages[name]] if name in row.stages else "" for name in names),
            "" if row.step is None or row.state == "completed" else f"{row.step}/{row.total}",
            duration(row.eta_seconds),
            escape(row.metric),
            escape(row.node),
            escape(row.reason or ""),
        )
    parts: list[RenderableType] = [table, Text(summary(status), style="bold")]
    logs = _logs(rows)
    if len(rows) < len(status.rows):
        parts.append(Text(f"… and {len(status.rows) - len(rows)} more"))
    return Group(*parts, *logs)


def summary(status: Status) -> str:
    """How many runs are in which state."""
    counts = ", ".join(f"{n} {state}" for state, n in sorted(status.counts().items()))
    note = "; SLURM does not answer, this is what the files say" if status.slurm is False else ""
    return f"{len(status.rows)} run{'s' * (len(status.rows) != 1)}: {counts}{note}"


def duration(seconds: float | None) -> str:
    """ "45 s", "12 min", "3.5 h"."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _rank(row: Row) -> int:
    order = ("running", "failed", "out_of_memory", "timed_out", "preempted", "waiting")
    return order.index(row.state) if row.state in order else len(order)


def _logs(rows: Sequence[Row]) -> list[Text]:
    """The log of each failure, once where runs failed in the same way."""
    seen: dict[tuple[str, ...], Row] = {}
    for row in rows:
        if row.log and row.state != "completed":
            seen.setdefault(tuple(row.log), row)
    return [
        Text("\n".join([f"\n{row.run_id}, job {row.job}:", *(f"  {line}" for line in log)]))
        for log, row in list(seen.items())[:10]
    ]
