"""What a SLURM job does: some stages of one run, with all its processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from submitit.helpers import TorchDistributedEnvironment

from videomt_bench.runs.execute import execute, open_record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep import slurm
from videomt_bench.training.stopping import Preempted

LONGEST_WAIT = timedelta(days=1)
"""How long processes of a job wait for another one; SLURM ends them all when one fails."""


def run_job(
    spec: dict[str, Any],
    results: str,
    names: Sequence[str],
    folder: str,
    requeues: int,
    needs: str | None = None,
) -> str:
    """Run stages of a run as (a process of) a SLURM job and return the state of its record.

    Asked to end by SIGUSR2, before a time limit or by a preemption, the job saves and is queued
    again, at most ``requeues`` times. By SIGTERM it saves; whoever sent it decides what follows.

    Args:
        spec: the run, as JSON values.
        results: the results folder.
        names: the stages.
        folder: where the sweep was launched; relative paths of data start there.
        requeues: the limit.
        needs: a stage without which there is nothing to do.
    """
    os.chdir(folder)
    run, store = RunSpec.from_json(spec), Store(Path(results))
    if needs is not None and needs not in open_record(run, store).stages:
        print(f"{needs} of {run.run_id} is not done, so there is nothing to do", flush=True)
        return "planned"
    with process_group(run.device) as rank:
        try:
            record = execute(run, store.root, names)
        except Preempted as stop:
            if rank == 0 and stop.number == signal.SIGUSR2:
                _queue_again(run, store, requeues)
            raise SystemExit(0) from None
        if record.reason is not None:  # SLURM then ends the processes that wait for this one
            raise SystemExit(1)
    return record.state


@contextmanager
def process_group(device: str) -> Iterator[int]:
    """Join the processes of the job, if it has several; yields the rank of this one."""
    if int(os.environ.get("SLURM_NTASKS", 1)) < 2:
        yield 0
        return
    environment = TorchDistributedEnvironment()
    environment.export(set_cuda_visible_devices=False, overwrite=True)
    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(environment.local_rank % torch.cuda.device_count())
        backend = "nccl"
    torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield environment.rank
    finally:
        torch.distributed.destroy_process_group()


def _queue_again(run: RunSpec, store: Store, requeues: int) -> None:
    """Requeue this job, and say in the record whether that was possible."""
    record = open_record(run, store)
    done = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    if done >= requeues:
        record.state = "timed_out"
        record.reason = (
            f"{record.reason}; it was queued again {done} times, which is the limit; "
            "`sweep retry` continues it"
        )
        store.save(record)
        return
    before = record.reason
    record.reason = f"{before}; queued again ({done + 1} of {requeues})"
    store.save(record)
    if problem := slurm.requeue():
        record.state, record.reason = "timed_out", f"{before}; not queued again: {problem}"
        store.save(record)
