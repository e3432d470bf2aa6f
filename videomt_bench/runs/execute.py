"""Executes stages of a run and keeps the record true, whatever happens."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models import load_variant
from videomt_bench.runs import stages
from videomt_bench.runs.environment import environment, source
from videomt_bench.runs.record import Record, State
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Listener, Store


class Preempted(Exception):
    """The process was asked to end; the last checkpoint stands."""


def execute(
    spec: RunSpec,
    results: Path,
    names: Sequence[str] = stages.STAGES,
    listener: Listener | None = None,
) -> Record:
    """Run the named stages of a run that are not done, in order, and return its record.

    The segmenter stage alone writes no record: it belongs to several runs. Anything that goes
    wrong ends in the record with its reason; only a preemption is raised again.
    """
    store = Store(results, listener)
    record = open_record(spec, store)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    try:
        with _signals():
            for name in stages.STAGES:
                if name in names:
                    _stage(spec, store, record, name)
        _settle(store, record, names)
    except BaseException as error:
        record.state, record.reason = failure(error)
        store.save(record)
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


def _settle(store: Store, record: Record, names: Sequence[str]) -> None:
    """A record whose named stages are done, others not, waits for those."""
    if record.state == "running" and set(names) - {"segmenter"}:
        record.state = "planned"
        store.save(record)


def _stage(spec: RunSpec, store: Store, record: Record, name: str) -> None:
    done = record.stages.get(name)
    if done is not None and done.state == "completed":
        return
    record.state, record.reason = "running", None
    record.environment, record.source = environment(), source()
    if name != "segmenter":
        store.save(record)
    if name == "segmenter":
        result = stages.train_segmenter(spec, store)
    elif name == "video":
        segmenter = store.stage(spec.segmenter_id(load_variant(spec.variant))).done("segmenter")
        if segmenter is not None:
            record.stages["segmenter"] = segmenter
        result = stages.train_video(spec, store)
    elif name == "evaluate":
        result, record.metrics = stages.evaluate(spec, store)
        stats = store.stats_path(spec.run_id)
        record.video_stats = stats.name if record.metrics else None
    else:
        result, record.cost = stages.cost(spec, store)
    record.stages[name] = result
    complete = set(stages.STAGES) <= set(record.stages)
    record.state = "completed" if complete else "running"
    if name != "segmenter":
        store.save(record)


@contextmanager
def _signals() -> Iterator[None]:
    """Turn a request to end into ``Preempted`` for the time of the block."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Preempted(f"received {signal.Signals(number).name}")

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
