"""Executes stages of a run and keeps the record true, whatever happens."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, get_rank, is_distributed

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models import load_variant
from videomt_bench.runs import stages
from videomt_bench.runs.claim import claimed
from videomt_bench.runs.environment import environment, source
from videomt_bench.runs.record import TRAINING, Record, StageResult, State
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Listener, Store
from videomt_bench.training.stopping import Preempted, heeding_signals, raise_if_requested

FAILED: tuple[State, ...] = ("failed", "out_of_memory", "timed_out", "preempted")
"""States with a reason."""


def execute(
    spec: RunSpec,
    results: Path,
    names: Sequence[str] = stages.STAGES,
    listener: Listener | None = None,
) -> Record:
    """Run the named stages of a run that are not done, in order, and return its record.

    The segmenter stage alone writes no record: it belongs to several runs. Anything that goes
    wrong ends in the record with its reason; only a preemption is raised again. In a process group
    all processes train and the first one does the rest.
    """
    store = Store(results, listener)
    record = open_record(spec, store)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    try:
        with heeding_signals():
            for name in spec.stage_names:
                if name in names and not _agreed(_is_done(record, name)):
                    raise_if_requested()
                    record = _alone(spec, store, name)
        _settle(store, record, names)
    except BaseException as error:
        record = _fail(spec, store, error, names)
        if not isinstance(error, Exception) or isinstance(error, Preempted):
            raise
        if not isinstance(error, BenchError):
            traceback.print_exc()
    return record


def open_record(spec: RunSpec, store: Store) -> Record:
    """The record of a run as it stands, or a new one."""
    found = store.load(spec.run_id)
    if found is not None:
        return found
    return Record(spec.run_id, spec.to_json(), "planned", source=source())


def forget(spec: RunSpec, store: Store, names: Sequence[str]) -> None:
    """Take stages out of a run's record, so that they are done again.

    Raises:
        BenchError: a stage that cannot be done again by itself.
    """
    for name in names:
        if name not in ("evaluate", "cost"):
            raise unknown("stage to do again", name, ("evaluate", "cost"))
    record = store.load(spec.run_id)
    if record is None or not set(names) & set(record.stages):
        return
    record.stages = {k: v for k, v in record.stages.items() if k not in names}
    record.state = "running"
    store.save(record)


def failure(error: BaseException) -> tuple[State, str]:
    """The state and the reason that a record gives for an error."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in text:
        return "out_of_memory", text or "the machine has no memory left"
    if isinstance(error, (Preempted, KeyboardInterrupt)):
        return "preempted", text or "interrupted"
    if isinstance(error, BenchError):
        return "failed", text
    return "failed", f"{type(error).__name__}: {text}"


def _is_done(record: Record, name: str) -> bool:
    return name in record.stages and record.stages[name].state == "completed"


def _agreed(value: bool) -> bool:
    """What the first process of the group says."""
    if not is_distributed():
        return value
    values = [value]
    broadcast_object_list(values)
    return values[0]


def _alone(spec: RunSpec, store: Store, name: str) -> Record:
    """Run a stage while no other process works on it, unless another one has done it meanwhile."""
    main = get_rank() == 0
    with claimed(store.stage(spec.owner(name)).path) if main else nullcontext():
        record = open_record(spec, store)
        if _agreed(_is_done(record, name)):
            return record
        if main:
            store.stage(spec.run_id).put_reserve_aside()
        if main or name in TRAINING:
            _stage(spec, store, record, name, main)
        store.stage(spec.run_id).free_reserve()
    return record


def _fail(spec: RunSpec, store: Store, error: BaseException, names: Sequence[str]) -> Record:
    """Write what went wrong; of the processes of a group, the first that fails says it."""
    state, reason = failure(error)
    if get_rank() != 0 and state == "preempted":
        return Record(spec.run_id, spec.to_json(), state, reason)
    try:
        record = open_record(spec, store)
        if is_distributed() and record.state in FAILED and "segmenter" not in names:
            return record
        record.state, record.reason = state, reason
        store.save_failure(record)
        if "segmenter" in names and "segmenter" not in record.stages:
            store.stage(spec.segmenter_id(load_variant(spec.variant))).fail(reason)
    except BenchError as another:  # the log is left, where ``sweep status`` looks
        print(f"{spec.run_id}: {another}", file=sys.stderr)
        print(f"{spec.run_id}: {state}: {reason}", file=sys.stderr)
        record = Record(spec.run_id, spec.to_json(), state, reason)
    return record


def _settle(store: Store, record: Record, names: Sequence[str]) -> None:
    """A record whose named stages are done, others not, waits for those."""
    if record.state == "running" and set(names) - {"segmenter"}:
        record.state = "planned"
        store.save(record)


def _stage(spec: RunSpec, store: Store, record: Record, name: str, main: bool) -> None:
    record.state, record.reason = "running", None
    record.environment, record.source = environment(), source()
    if name != "segmenter" and main:
        store.save(record)
    if name == "segmenter":
        result = stages.train_segmenter(spec, store)
    elif name == "video":
        record.stages["segmenter"] = _segmenter(spec, store)
        result = stages.train_video(spec, store)
    elif name == "refine":
        result = stages.train_refiner(spec, store)
    elif name == "evaluate":
        result, record.metrics = stages.evaluate(spec, store)
        stats = store.stats_path(spec.run_id)
        record.video_stats = stats.name if record.metrics else None
    else:
        result, record.cost = stages.cost(spec, store)
    record.stages[name] = result
    complete = set(spec.stage_names) <= set(record.stages)
    record.state = "completed" if complete else "running"
    if name != "segmenter" and main:
        store.save(record)


def _segmenter(spec: RunSpec, store: Store) -> StageResult:
    """The result that a run's video stage starts from.

    Raises:
        BenchError: it is not there, with the reason that it gave.
    """
    folder = store.stage(spec.segmenter_id(load_variant(spec.variant)))
    if done := folder.done("segmenter"):
        return done
    reason = folder.failed()
    raise BenchError(
        f"run {spec.run_id} needs the stage {folder.path.name}, which is not done"
        + (f": {reason}" if reason else "")
    )
