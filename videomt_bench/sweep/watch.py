"""Shows how a sweep gets on: live bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_INTERVAL = 15.0
"""Seconds between lines where there is no terminal."""


class Show(Protocol):
    """What a wave of jobs tells while it runs."""

    def progress(self, name: str, state: dict[str, Any] | None) -> None:
        """The last progress of a running job."""

    def finished(self, name: str, problem: str | None) -> None:
        """A job has ended, well or with a problem."""


class View:
    """Progress of one command on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.start = time.monotonic()

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """One bar; yields a callable (done, total). Nothing is shown until it is called."""
        with self._bars() as bars:
            task = None

            def report(done: int, total: int) -> None:
                nonlocal task
                if task is None:
                    task = bars.add_task(title, total=total, note="")
                bars.update(task, completed=done, total=total)

            yield report

    @contextmanager
    def wave(self, title: str, names: Sequence[str]) -> Iterator[Show]:
        """A wave of jobs: a bar for each that runs and one for all."""
        if not names:
            yield _Silent()
            return
        self.console.print(f"[bold]{title}[/] · {len(names)} job{'s' * (len(names) > 1)}")
        if self.console.is_terminal:
            with self._bars() as bars:
                yield _Live(bars, names)
        else:
            yield _Plain(self.console, names, self.start)

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description}", style="cyan"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self.console,
            disable=not self.console.is_terminal,
        )


class _Silent:
    def progress(self, name: str, state: dict[str, Any] | None) -> None: ...

    def finished(self, name: str, problem: str | None) -> None: ...


class _Live:
    def __init__(self, bars: Progress, names: Sequence[str]) -> None:
        self.bars = bars
        self.tasks: dict[tuple[str, str], Any] = {}
        self.all = bars.add_task("all", total=len(names), note="")

    def progress(self, name: str, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        key = (name, state["stage"])
        if key not in self.tasks:
            label = f"{name.rsplit('-', 1)[0]} {state['stage']}"
            self.tasks[key] = self.bars.add_task(label, total=state["total"], note="")
        self.bars.update(
            self.tasks[key], completed=state["step"], total=state["total"], note=_loss(state)
        )

    def finished(self, name: str, problem: str | None) -> None:
        for key in [k for k in self.tasks if k[0] == name]:
            self.bars.remove_task(self.tasks.pop(key))
        mark = "[green]done[/]" if problem is None else f"[red]failed[/]: {problem}"
        self.bars.console.print(f"  {name.rsplit('-', 1)[0]}: {mark}")
        self.bars.advance(self.all)


class _Plain:
    def __init__(self, console: Console, names: Sequence[str], start: float) -> None:
        self.console = console
        self.total = len(names)
        self.done = 0
        self.start = start
        self.wave_start = time.monotonic()
        self.last = time.monotonic()
        self.states: dict[str, dict[str, Any]] = {}

    def progress(self, name: str, state: dict[str, Any] | None) -> None:
        if state is not None:
            self.states[name] = state
        if time.monotonic() - self.last > PLAIN_INTERVAL:
            self.last = time.monotonic()
            self._line(
                "  ".join(
                    f"{n.rsplit('-', 1)[0]} {s['stage']} {s['step']}/{s['total']}{_loss(s)}"
                    for n, s in self.states.items()
                )
            )

    def finished(self, name: str, problem: str | None) -> None:
        self.states.pop(name, None)
        self.done += 1
        ending = "done" if problem is None else f"failed: {problem}"
        self._line(f"{name.rsplit('-', 1)[0]} {ending}")

    def _line(self, text: str) -> None:
        elapsed = time.monotonic() - self.start
        shares = [s["step"] / max(1, s["total"]) for s in self.states.values()]
        share = (self.done + sum(shares)) / self.total
        spent = time.monotonic() - self.wave_start
        eta = f", about {spent / share * (1 - share):.0f} s left" if 0 < share < 1 else ""
        counts = f"[{elapsed:4.0f} s] {self.done}/{self.total} done{eta} · "
        self.console.print(counts + text, markup=False, highlight=False, soft_wrap=True)


Shown = TypeVar("Shown")


def keep_showing(
    look: Callable[[], Shown],
    table: Callable[[Shown, int | None], RenderableType],
    console: Console,
    seconds: float,
) -> Shown:
    """Show a status again and again until nothing runs or waits; returns the last one.

    Args:
        look: makes a status, which has ``rows`` with a ``state``.
        table: shows one, in so many lines.
        console: on a terminal the table stays in place.
        seconds: between two looks.
    """
    lines = max(5, console.height - 8) if console.is_terminal else None
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            found = look()
            if console.is_terminal:
                live.update(table(found, lines), refresh=True)
            if not any(row.state in ("running", "waiting") for row in found.rows):  # type: ignore[attr-defined]
                break
            time.sleep(seconds)
    console.print(table(found, None))
    return found


def _loss(state: dict[str, Any]) -> str:
    loss = state.get("losses", {}).get("loss")
    return f" loss {loss:.2f}" if loss is not None else ""
