"""What is to do of an experiment: some stages of one run are a task, one process or one job."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from videomt_bench.errors import BenchError, unknown
from videomt_bench.runs import stages
from videomt_bench.runs.execute import forget, open_record
from videomt_bench.runs.record import State
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store

MODES = ("cached", "retry", "force", "read-only")
BROKEN: tuple[State, ...] = ("failed", "out_of_memory", "timed_out")
"""States that ``retry`` tries again and ``cached`` leaves alone."""


@dataclass
class Task:
    """Some stages of one run, as one process or, with several accelerators, as one job."""

    spec: RunSpec
    stage_names: tuple[str, ...]
    stage_id: str
    """Whose work folder tells the progress."""
    needs: str | None = None
    """A stage that must have ended before, if it is among the tasks."""
    job: Any = field(default=None, repr=False)


def segmenter_tasks(
    specs: Sequence[RunSpec], store: Store, busy: Collection[str] = ()
) -> list[Task]:
    """The segmenters that runs wait for, each once; those ``busy`` are in a queue already."""
    tasks: dict[str, Task] = {}
    for spec in specs:
        stage_id = spec.segmenter_stage
        if stage_id in tasks or stage_id in busy:
            continue
        wanted = open_record(spec, store).state != "completed"
        if wanted and store.stage(stage_id).done("segmenter") is None:
            tasks[stage_id] = Task(spec, ("segmenter",), stage_id)
    return list(tasks.values())


def run_tasks(
    specs: Sequence[RunSpec], store: Store, names: tuple[str, ...], wait_for: str | None = None
) -> list[Task]:
    """The runs of which any of these stages is not done; with ``wait_for``, that one must be.

    A run that is tested with the training of another one, or continues it, waits for it.
    """
    wanted = []
    ids = {spec.run_id for spec in specs}
    for spec in specs:
        done = open_record(spec, store).stages
        own = tuple(name for name in names if name in spec.stage_names)
        if set(own) - set(done) and (wait_for is None or wait_for in done):
            lenders = [spec.trained.run_id, spec.online.run_id] if "video" in own else []
            before = [i for i in lenders if i != spec.run_id and i in ids]
            wanted.append(Task(spec, own, spec.run_id, [*before, spec.segmenter_stage][0]))
    return wanted


def prepare(
    specs: Sequence[RunSpec],
    store: Store,
    names: Sequence[str],
    mode: str = "retry",
    redo: Sequence[str] = (),
    states: Sequence[str] = (),
) -> list[RunSpec]:
    """Check everything, forget what is to be done again, and return the runs to do.

    Args:
        specs: the runs.
        store: their records.
        names: the stages to do.
        mode: "retry" takes all that are not complete, "cached" leaves out those that failed,
            "force" does all anew, "read-only" does nothing.
        redo: stages to do again.
        states: of the runs to take; empty for all.

    Raises:
        BenchError: something is wrong that can be known before anything has started.
    """
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    for name in names:
        if name not in stages.STAGES:
            raise unknown("stage", name, stages.STAGES)
    if mode == "read-only":
        return []
    if states:
        specs = [s for s in specs if open_record(s, store).state in states]
    for spec in {(s.variant, s.encoder, s.dataset): s for s in specs}.values():
        stages.check(spec, store, names)
    for spec in specs:
        forget(spec, store, redo)
    if mode == "force":
        _forget_all(specs, store)
    if mode == "cached":
        return [s for s in specs if open_record(s, store).state not in BROKEN]
    return list(specs)


def _forget_all(specs: Sequence[RunSpec], store: Store) -> None:
    """Remove the results of runs and of their segmenters.

    Raises:
        BenchError: a process works on one of them.
    """
    folders = {*(s.run_id for s in specs), *(s.segmenter_stage for s in specs)}
    for name in sorted(folders):
        if store.stage(name).is_owned():
            raise BenchError(f"a process works on {name}; cancel it before forcing it anew")
    for name in folders:
        store.stage(name).remove()
    for spec in specs:
        store.record_path(spec.run_id).unlink(missing_ok=True)
        store.stats_path(spec.run_id).unlink(missing_ok=True)
