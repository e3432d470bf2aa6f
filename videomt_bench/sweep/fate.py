"""What became of runs whose job ended without saying so: the reason goes into their records.

A job writes its own record where it can. One that was killed, whose node was lost or whose disk was
full cannot; then SLURM's accounting and the last lines of its log say what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from videomt_bench.errors import BenchError
from videomt_bench.runs.execute import open_record
from videomt_bench.runs.record import Record, State
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep import slurm
from videomt_bench.sweep.ledger import Job, Ledger
from videomt_bench.sweep.slurm import JobState

NO_MEMORY = (
    "oom_kill",
    "oom-kill",
    "out of memory",
    "exceeded memory limit",
    "exceeded job memory",
)
NO_ROOM = ("no space left on device", "disk quota exceeded")
SIGNALS = {"9": "SIGKILL", "15": "SIGTERM", "11": "SIGSEGV", "6": "SIGABRT", "7": "SIGBUS"}


@dataclass(frozen=True)
class Jobs:
    """The jobs of some runs, and what SLURM says of them; ``answers`` is False where it is mute."""

    all: list[Job]
    states: dict[str, JobState]
    answers: bool
    finished: dict[str, Record]
    """The records of complete runs, of which nothing was asked."""

    def live(self) -> dict[tuple[str, str], Job]:
        """(stage id or run id, stage name) -> the job that will do it or does it."""
        found = {}
        for job in self.all:
            state = self.states.get(job.id)
            if state is not None and not state.is_over:
                for name in job.stage_names:
                    found[job.stage_id if name == "segmenter" else job.run_id, name] = job
        return found


def look_up(ledger: Ledger, specs: Sequence[RunSpec], store: Store) -> Jobs:
    """Ask SLURM, with one ``squeue`` and one ``sacct`` at most, for the jobs of unfinished runs."""
    records = {spec.run_id: store.load(spec.run_id) for spec in specs}
    finished = {i: r for i, r in records.items() if r is not None and r.state == "completed"}
    open_runs = {run_id for run_id in records if run_id not in finished}
    segmenters = {s.segmenter_stage for s in specs if s.run_id in open_runs}
    jobs = [j for j in ledger.jobs() if j.run_id in open_runs or j.stage_id in segmenters]
    ids = [job.id for job in jobs]
    if not ids:
        return Jobs([], {}, True, finished)
    queued = slurm.queue(ids)
    states = dict(queued or {})
    rest = [job_id for job_id in ids if job_id not in states]
    ended = slurm.accounting(rest) if rest else {}
    for job_id in rest:
        if ended and job_id in ended:
            states[job_id] = ended[job_id]
        elif queued is not None:
            states[job_id] = JobState("GONE")
    return Jobs(jobs, states, queued is not None or ended is not None, finished)


def settle(specs: Sequence[RunSpec], store: Store, jobs: Jobs, ledger: Ledger) -> dict[str, Record]:
    """Write the reason into the record of every run that was lost; returns all records by id.

    ``jobs`` must have been asked for before: a record read later than the end of its job is final.
    """
    live = {owner for owner, _ in jobs.live()}
    owned = by_owner(jobs)
    records = {s.run_id: jobs.finished.get(s.run_id) or open_record(s, store) for s in specs}
    for spec in specs:
        record, segmenter = records[spec.run_id], spec.segmenter_stage
        if spec.run_id in live or segmenter in live:
            continue
        if record.state not in ("planned", "running", "preempted"):
            continue
        own = [*owned.get(segmenter, ()), *owned.get(spec.run_id, ())]
        trained = store.stage(segmenter).done("segmenter") is not None
        if fate := _fate(record, own, trained, jobs, ledger, store):
            record.state, record.reason = fate
            try:
                store.save(record)
            except BenchError:
                continue  # a reader from another machine may not be able to write
    return records


def _fate(
    record: Record, own: Sequence[Job], trained: bool, jobs: Jobs, ledger: Ledger, store: Store
) -> tuple[State, str] | None:
    """State and reason of a run that nothing works on, or None where its record says it."""
    lost = first_undone(record, own, trained)
    if lost is None:
        quiet = record.state == "running" and not store.stage(record.run_id).is_owned()
        if own or not quiet or not _is_old(record):
            return None
        return "failed", "the process that worked on it is gone; `sweep run` continues it"
    if lost.id not in jobs.states:
        return None
    state, reason = ending_of(jobs.states[lost.id], ledger.log(lost.id, 20))
    if record.state == "preempted" and state == "failed" and "killed" not in reason:
        return None  # the job said why it ended
    return state, f"{reason} ({', '.join(lost.stage_names)} in job {lost.id})"


def _is_old(record: Record) -> bool:
    """Whether a record is older than the moment between two stages of a run."""
    age = datetime.now(timezone.utc) - datetime.fromisoformat(record.updated)
    return age > timedelta(seconds=10)


def by_owner(jobs: Jobs) -> dict[str, list[Job]]:
    """Run id or segmenter -> its jobs; a segmenter's job belongs to the run it was made for too."""
    found: dict[str, list[Job]] = {}
    for job in jobs.all:
        for owner in {job.run_id, job.stage_id}:
            found.setdefault(owner, []).append(job)
    return found


def first_undone(record: Record, jobs: Sequence[Job], segmenter_done: bool) -> Job | None:
    """The last job for the first stage that is not done: the one whose log says why."""
    done = {*record.stages} | ({"segmenter"} if segmenter_done else set())
    for name in record.stage_names:
        if name not in done:
            return next((job for job in reversed(jobs) if name in job.stage_names), None)
    return None


def ending_of(ending: JobState, log: Sequence[str]) -> tuple[State, str]:
    """The state and the reason for a job that ended without a record of it."""
    text = "\n".join(log).lower()
    state, what = _by_slurm(ending)
    if ending.state == "OUT_OF_MEMORY" or any(mark in text for mark in NO_MEMORY):
        state, what = "out_of_memory", "the job used more memory than it asked for"
    elif any(mark in text for mark in NO_ROOM):
        state, what = "failed", "the disk is full"
    if said := [line for line in log if not line.startswith(("srun:", "slurmstepd", "submitit"))]:
        what += f"; last line of its log: {said[-1]}"
    return state, what


def _by_slurm(ending: JobState) -> tuple[State, str]:
    state, detail = ending.state, ending.detail
    node = f" {ending.node}" if ending.node not in ("", "None assigned") else ""
    if state == "TIMEOUT" or state == "DEADLINE":
        return "timed_out", "the time limit ended the job before it could save and be queued again"
    if state.startswith("CANCELLED"):
        return "preempted", "the job was cancelled"
    if state == "PREEMPTED":
        return "preempted", "the job was preempted and not queued again"
    if state in ("NODE_FAIL", "BOOT_FAIL"):
        return "failed", f"the job lost its node{node}"
    if state == "GONE":
        return "failed", "the job is gone without a result, killed or lost with its node"
    code, _, number = detail.partition(":")
    killed = SIGNALS.get(number) or SIGNALS.get(str(int(code) - 128) if code.isdecimal() else "")
    if killed or code == "9":
        return (
            "failed",
            f"the job was killed by {killed or 'SIGKILL'}{f' on{node}' if node else ''}",
        )
    return "failed", f"the job ended without a result, with {state} and exit code {detail or '?'}"
