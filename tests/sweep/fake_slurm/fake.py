"""SLURM's commands as far as sweeps use them; jobs really run, as processes of this machine.

``FAKE_SLURM`` names the folder of its state: ``<job>.json`` per job and ``<task>.state`` per task.
Calls are counted in ``calls``. What tests ask for: ``FAKE_SLURM_IDLE`` lets all jobs wait for ever,
``FAKE_SLURM_NO_ACCOUNTING`` makes ``sacct`` fail.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["FAKE_SLURM"])
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


def main(command: str, arguments: list[str]) -> int:
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / "calls").open("a", encoding="utf-8") as file:
        file.write(" ".join([command, *arguments]) + "\n")
    return {
        "sbatch": sbatch,
        "squeue": squeue,
        "sacct": sacct,
        "scancel": scancel,
        "scontrol": lambda arguments: 0,
        "srun": srun,
        "runner": runner,
    }[command](arguments)


def sbatch(arguments: list[str]) -> int:
    script = Path(arguments[-1])
    options = read_options(script.read_text(encoding="utf-8"))
    if options.get("partition") == "nope":
        print("sbatch: error: invalid partition specified: nope", file=sys.stderr)
        print("sbatch: error: Batch job submission failed: Invalid partition name", file=sys.stderr)
        return 1
    number = 1 + len(list(ROOT.glob("*.json")))
    (ROOT / f"{number}.json").write_text(json.dumps({"script": str(script), **options}))
    for task in tasks_of(number, options):
        set_state(task, "PENDING")
    text = script.read_text(encoding="utf-8")
    (ROOT / f"{number}.sh").write_text(text, encoding="utf-8")
    print(f"Submitted batch job {number}")
    sys.stdout.flush()
    if "FAKE_SLURM_IDLE" not in os.environ:
        program = [sys.executable, __file__, "runner", str(number)]
        with open(ROOT / "runner.log", "a") as log:
            subprocess.Popen(program, stdout=log, stderr=log, start_new_session=True)
    return 0


def runner(arguments: list[str]) -> int:
    """Wait for the dependencies of a job, then run its tasks, two at a time."""
    number = int(arguments[0])
    options = json.loads((ROOT / f"{number}.json").read_text())
    for other in re.findall(r"\d+", options.get("dependency", "").partition(":")[2]):
        while any(state not in OVER for state in states(other).values()):
            time.sleep(0.1)
    waiting, running = tasks_of(number, options), []
    while waiting or running:
        while waiting and len(running) < 2:
            task = waiting.pop(0)
            if state_of(task) == "PENDING":
                set_state(task, "RUNNING")
                running.append((task, start(number, task, options)))
        for task, process in [pair for pair in running if pair[1].poll() is not None]:
            running.remove((task, process))
            set_state(task, "FAILED" if process.returncode else "COMPLETED")
        time.sleep(0.1)
    return 0


def start(number: int, task: str, options: dict[str, str]) -> subprocess.Popen[bytes]:
    array, _, index = task.partition("_")
    environment = {**os.environ, "SLURM_JOB_ID": task, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    environment |= {"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "localhost"}
    if index:
        environment |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
    with open(expand(options["error"], task), "ab") as log:
        return subprocess.Popen(["bash", str(ROOT / f"{number}.sh")], env=environment, stderr=log)


def srun(arguments: list[str]) -> int:
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    job = (
        os.environ["SLURM_JOB_ID"]
        if index is None
        else f"{os.environ['SLURM_ARRAY_JOB_ID']}_{index}"
    )
    files = {}
    while arguments[0].startswith("--"):
        name = arguments.pop(0)
        if name in ("--output", "--error"):
            files[name] = expand(arguments.pop(0), job)
    with open(files["--output"], "ab") as output, open(files["--error"], "ab") as error:
        return subprocess.call(arguments, stdout=output, stderr=error)


def squeue(arguments: list[str]) -> int:
    wanted = option(arguments, "--jobs").split(",")
    known = [job for job in wanted if (ROOT / f"{job}.json").is_file()]
    for job in known:
        for task, state in states(job).items():
            if state not in OVER:
                print(f"{task}|{state}|None|{'node1' if state == 'RUNNING' else ''}")
    if not known:
        print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
        return 1
    return 0


def sacct(arguments: list[str]) -> int:
    if "FAKE_SLURM_NO_ACCOUNTING" in os.environ:
        print("Slurm accounting storage is disabled", file=sys.stderr)
        return 1
    for job in option(arguments, "--jobs").split(","):
        for task, state in states(job).items():
            print(f"{task}|{state}|{'1:0' if state == 'FAILED' else '0:0'}|node1")
    return 0


def scancel(arguments: list[str]) -> int:
    for job in arguments:
        for task in states(job) if "_" not in job else [job]:
            if state_of(task) not in OVER:
                set_state(task, "CANCELLED")
    return 0


def read_options(text: str) -> dict[str, str]:
    options = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH --"):
            key, _, value = line.removeprefix("#SBATCH --").partition("=")
            options[key] = " ".join(shlex.split(value))
    return options


def tasks_of(number: int, options: dict[str, str]) -> list[str]:
    if "array" not in options:
        return [str(number)]
    last = int(options["array"].partition("-")[2].partition("%")[0])
    return [f"{number}_{i}" for i in range(last + 1)]


def states(job: object) -> dict[str, str]:
    options = json.loads((ROOT / f"{job}.json").read_text())
    return {task: state_of(task) for task in tasks_of(int(str(job)), options)}


def state_of(task: str) -> str:
    return (ROOT / f"{task}.state").read_text()


def set_state(task: str, state: str) -> None:
    temporary = ROOT / f".{task}.{os.getpid()}"
    temporary.write_text(state)
    os.replace(temporary, ROOT / f"{task}.state")


def expand(pattern: str, task: str) -> str:
    array, _, index = task.partition("_")
    for mark, value in (("%A", array), ("%a", index), ("%j", task), ("%t", "0")):
        pattern = pattern.replace(mark, value)
    return pattern


def option(arguments: list[str], name: str) -> str:
    (found,) = [a.partition("=")[2] for a in arguments if a.startswith(f"{name}=")]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
