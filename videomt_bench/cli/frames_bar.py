"""How far a video is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from videomt_bench.cli.common import plain

PLAIN_INTERVAL = 15.0
"""Seconds between lines where there is no terminal."""
Report = Callable[[int, int | None], None]


@contextmanager
def frames_bar(console: Console, title: str) -> Iterator[Report]:
    """Yields a callable (frames done, of how many); the latter is None where nobody knows."""
    if not console.is_terminal:
        yield _lines(console, title)
        return
    columns = (
        TextColumn("{task.description}", style="cyan"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[rate]}", style="dim"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(plain(title), total=None, count="", rate="")
        start = time.monotonic()

        def report(done: int, total: int | None) -> None:
            rate = done / max(time.monotonic() - start, 1e-9)
            # a file may hold more frames than it says
            whole = None if total is None else max(done, total)
            bars.update(
                task,
                completed=done,
                total=whole,
                count=f"{done} frames" if whole is None else f"{done}/{whole}",
                rate=f"{rate:.1f} frames/s",
            )

        yield report


def _lines(console: Console, title: str) -> Report:
    start = last = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_INTERVAL:
            return
        last = now
        rate = done / (now - start)
        text = f"{title}: {done} frames"
        if total is not None:
            left = max(total - done, 0) / rate
            text = f"{title}: {done}/{max(done, total)} frames, about {left:.0f} s left"
        console.print(f"{text}, {rate:.1f} frames/s", markup=False, highlight=False, soft_wrap=True)

    return report
