"""Everything that knows SLURM: parameters of jobs, submission, and what the controller says."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import read_job_id

from videomt_bench.errors import BenchError, unknown
from videomt_bench.runs.record import STAGES, TRAINING
from videomt_bench.runs.spec import RunSpec
from videomt_bench.sweep.snapshot import Snapshot
from videomt_bench.variant_files import FOLDERS_VARIABLE

DEFAULT_MINUTES = 24 * 60
"""Time limit of a job; a training that takes longer is queued again and continues."""
LARGEST_ARRAY = 1000
"""Tasks of one array; SLURM's own default limit is 1001."""
COMMAND_SECONDS = 60
RENAMED = {
    "name": "job_name",
    "timeout_min": "time",
    "tasks_per_node": "ntasks_per_node",
}
"""submitit's names for all clusters -> its names for SLURM."""
UNFINISHED = {
    "PENDING",
    "RUNNING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESIZING",
    "SUSPENDED",
    "COMPLETING",
    "CONFIGURING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
}


@dataclass(frozen=True)
class JobState:
    """What SLURM says of a job: a word such as RUNNING, why it waits or how it ended, where."""

    state: str
    detail: str = ""
    node: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing will come of the job any more."""
        return self.state not in UNFINISHED


def check_given(given: Mapping[str, Any]) -> None:
    """Check the names of parameters, such as "partition" or, for one stage, "cost.exclusive".

    Raises:
        BenchError: submitit does not know one.
    """
    valid = submitit.SlurmExecutor._valid_parameters() | {*RENAMED, "mem_gb"}
    for key in given:
        stage, dot, name = key.rpartition(".")
        if dot and stage not in STAGES:
            raise unknown(f"stage in the SLURM parameter {key!r}", stage, STAGES)
        if name not in valid:
            raise unknown("SLURM parameter", name, valid)
        _check_type(name, given[key])


def _check_type(name: str, value: Any) -> None:
    kinds: tuple[type, ...] = (object,)
    if name in ("nodes", "tasks_per_node", "ntasks_per_node", "cpus_per_task"):
        kinds = (int,)
    elif name in ("mem_gb", "timeout_min"):
        kinds = (int, float)
    elif name in ("setup", "teardown", "srun_args"):
        kinds = (str, list, tuple)
    elif name == "additional_parameters":
        kinds = (dict,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and int in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise BenchError(f"the SLURM parameter {name} must be of type {wanted}, not {value!r}")


def split_stages(
    names: Sequence[str], spec: RunSpec, given: Mapping[str, Any]
) -> list[tuple[str, ...]]:
    """The stages of a run by job; evaluation is a job of its own where training has several
    processes, and otherwise follows training in its job."""
    jobs = [["segmenter"], ["video", "refine", "evaluate"], ["cost"]]
    if processes(parameters(["video"], spec, given)) > 1:
        jobs = [[name] for name in STAGES]
    wanted = [name for name in spec.stage_names if name in names]
    kept = [tuple(name for name in job if name in wanted) for job in jobs]
    return [job for job in kept if job]


def parameters(names: Sequence[str], spec: RunSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """What submitit is told about the job of some stages of a run.

    Training gets one process per accelerator asked for; evaluation and cost get one process.

    Args:
        names: the stages of the job.
        spec: its device and threads decide the defaults.
        given: what the user wants, for all stages or, as "stage.key", for one.
    """
    trains = bool(set(names) & set(TRAINING))
    device = spec.cost.device if list(names) == ["cost"] else spec.device
    values: dict[str, Any] = {
        "job_name": f"videomt-{names[0]}",
        "time": DEFAULT_MINUTES,
        "nodes": 1,
        "cpus_per_task": spec.threads or 1 + spec.recipe.video.train.workers,
    }
    if device.startswith("cuda"):
        values["gpus_per_node"] = 1
    shared = {k: v for k, v in given.items() if "." not in k}
    own = {
        k.partition(".")[2]: v
        for name in names
        for k, v in given.items()
        if k.startswith(f"{name}.")
    }
    for key, value in {**shared, **own}.items():
        if trains or key in own or key not in ("nodes", "tasks_per_node", "ntasks_per_node"):
            values[RENAMED.get(key, key)] = value
    if "mem_gb" in values:
        values["mem"] = f"{round(values.pop('mem_gb') * 1024)}MB"
    kind, colon, count = str(values.get("gpus_per_node", "")).rpartition(":")
    if trains and count.isdecimal() and int(count) > 1:
        values.setdefault("ntasks_per_node", int(count))
    if not trains and count and "gpus_per_node" not in own:
        values["gpus_per_node"] = f"{kind}:1" if colon else 1
    return _with_flags(values)


def _with_flags(values: dict[str, Any]) -> dict[str, Any]:
    """Flags that every job needs: it may be requeued, and ``srun`` repeats what sbatch was told."""
    extra = values.get("additional_parameters") or {}
    values["additional_parameters"] = {"requeue": True, **extra}
    for name in ("setup", "teardown", "srun_args"):
        if isinstance(values.get(name), str):
            values[name] = [values[name]]
    arguments = list(values.get("srun_args") or [])
    arguments.append(f"--cpus-per-task={values['cpus_per_task']}")
    if processes(values) > 1:
        arguments.append("--kill-on-bad-exit=1")
    values["srun_args"] = arguments
    return values


def processes(values: Mapping[str, Any]) -> int:
    """How many processes a job has."""
    return int(values["nodes"]) * int(values.get("ntasks_per_node") or 1)


class Submission:
    """Submits arrays; unless all of them are accepted, none stays.

    Use as a context: an exception cancels what was submitted in it.
    """

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        self.folder = folder
        self.snapshot = snapshot
        self.job_ids: list[str] = []

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None and self.job_ids:
            cancel(self.job_ids)

    def array(
        self,
        function: Any,
        arguments: Sequence[tuple[Any, ...]],
        values: Mapping[str, Any],
        after: Sequence[str],
    ) -> list[str]:
        """One array of tasks that starts when the jobs ``after`` have ended, however they did.

        Returns:
            the job id of each task.

        Raises:
            BenchError: SLURM is not there or refuses the jobs.
        """
        executor = _executor(self.folder, {**values, "setup": self._setup(values)})
        if after:
            executor.update_parameters(dependency="afterany:" + ":".join(after))
        try:
            jobs = executor.map_array(function, *zip(*arguments, strict=True))
        except (FailedJobError, FailedSubmissionError) as error:
            raise BenchError(f"SLURM refuses the jobs: {_sentence(str(error))}") from None
        except OSError as error:
            raise BenchError(f"cannot submit from {self.folder}: {error}") from None
        ids = [job.job_id for job in jobs]
        self.job_ids.append(ids[0].partition("_")[0])
        return ids

    def _setup(self, values: Mapping[str, Any]) -> list[str]:
        root = shlex.quote(str(self.snapshot.root))
        own = shlex.quote(os.pathsep.join(map(str, self.snapshot.variants)))
        return [
            *(values.get("setup") or []),
            f"cd {root} || exit 1",  # `python -m` takes the code from here before anywhere else
            f"export PYTHONPATH={root}${{PYTHONPATH:+:$PYTHONPATH}}",
            f"export {FOLDERS_VARIABLE}={own}",
            f"export OMP_NUM_THREADS={values['cpus_per_task']}",
        ]


def _executor(folder: Path, values: Mapping[str, Any]) -> Any:
    try:
        executor = submitit.SlurmExecutor(folder=folder)
    except RuntimeError:
        raise BenchError(
            "there is no SLURM here (srun is not found); "
            "use a login node, or --executor local to run on this machine"
        ) from None
    try:
        executor.update_parameters(**values)
    except (TypeError, ValueError, AssertionError) as error:
        raise BenchError(f"SLURM parameters that do not fit: {_sentence(str(error))}") from None
    return executor


def queue(ids: Sequence[str]) -> dict[str, JobState] | None:
    """The jobs that wait or run, by id; None where the controller does not answer."""
    arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in ids}))
    command = ["squeue", "--array", "--noheader", "--format=%i|%T|%r|%N", f"--jobs={arrays}"]
    code, out, err = _run(command)
    if code:
        return {} if "Invalid job id" in err else None
    found = {}
    for line in out.splitlines():
        fields = (line.strip().split("|") + [""] * 4)[:4]
        if fields[0]:
            state = JobState(*fields[1:])
            if not state.is_over:
                found[fields[0]] = state
    return found


def accounting(ids: Sequence[str]) -> dict[str, JobState] | None:
    """How jobs ended, by id, from the accounting; None where there is none."""
    arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in ids}))
    fields = "JobID,State,ExitCode,NodeList"
    code, out, _ = _run(["sacct", "-n", "-P", "-X", f"--jobs={arrays}", f"--format={fields}"])
    if code:
        return None
    found: dict[str, JobState] = {}
    for line in out.splitlines():
        job_id, state, detail, node = (line.split("|") + [""] * 4)[:4]
        word = state.split(" ")[0]
        for part in read_job_id(job_id) if job_id else []:
            last = int(part[2]) if len(part) > 2 else int(part[1]) if len(part) > 1 else 0
            tasks = range(int(part[1]), last + 1) if len(part) > 1 else [None]
            for task in tasks:
                key = part[0] if task is None else f"{part[0]}_{task}"
                found[key] = JobState(word, detail if word != "CANCELLED" else state, node)
    return found


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs.

    Raises:
        BenchError: the controller does not answer.
    """
    code, _, err = _run(["scancel", *ids])
    if code and "Invalid job id" not in err:
        raise BenchError(f"SLURM does not cancel: {_sentence(err)}")


def requeue() -> str | None:
    """Queue the job of this process again, with its id; the reason where that is refused."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{index}" if array else os.environ["SLURM_JOB_ID"]
    code, _, err = _run(["scontrol", "requeue", job_id])
    return (_sentence(err) or "scontrol fails") if code > 0 else None


def hasten(ids: Sequence[str]) -> None:
    """Let requeued jobs start as soon as they can, instead of after SLURM's two minutes."""
    for job_id in ids:
        _run(["scontrol", "update", f"JobId={job_id}", "StartTime=now"])


def _run(command: Sequence[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except FileNotFoundError:
        return 127, "", f"{command[0]} is not found"
    except subprocess.TimeoutExpired:
        return 124, "", f"{command[0]} does not answer"
    return done.returncode, done.stdout, done.stderr


def _sentence(text: str) -> str:
    """What a SLURM command said, in one line."""
    lines = [line.partition(": error: ")[2] or line for line in text.splitlines() if line.strip()]
    return "; ".join(line.removeprefix("error: ").strip() for line in lines)[:300]
