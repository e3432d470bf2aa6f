"""What the SLURM of this cluster allows: array size, and time and GPUs of its partitions."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from videomt_bench.errors import BenchError, unknown

TIMEOUT = 20.0
"""Seconds to wait for an answer of the controller."""


@dataclass(frozen=True)
class Partition:
    """A partition; None stands for no limit or not said."""

    name: str
    minutes: float | None
    """The longest time of a job."""
    gpus: int
    """Of its best node."""
    nodes: int
    default: bool = False


@dataclass(frozen=True)
class Limits:
    """``max_array`` is the number of tasks that an array may have at most."""

    max_array: int | None = None
    partitions: Mapping[str, Partition] = field(default_factory=dict)


def read_limits() -> Limits | None:
    """Ask ``scontrol`` and ``sinfo``, once each; None where there is no SLURM.

    Raises:
        BenchError: SLURM is installed and its controller does not answer.
    """
    if shutil.which("scontrol") is None or shutil.which("sinfo") is None:
        return None
    config = _ask("scontrol", "show", "config")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    partitions = parse_partitions(_ask("sinfo", "--noheader", "--format=%P|%l|%G|%D"))
    return Limits(int(found[1]) if found else None, partitions)


def parse_partitions(text: str) -> dict[str, Partition]:
    """The answer of ``sinfo --noheader --format='%P|%l|%G|%D'``, several lines per partition."""
    partitions: dict[str, Partition] = {}
    for line in text.splitlines():
        name, time, resources, nodes = line.strip().split("|")
        default, name = name.endswith("*"), name.removesuffix("*")
        counts = re.findall(r"gpu:(?:[^:,()]+:)?(\d+)", resources)
        before = partitions.get(name, Partition(name, None, 0, 0))
        partitions[name] = Partition(
            name,
            minutes_of(time),
            max(before.gpus, sum(map(int, counts))),
            before.nodes + int(nodes),
            default,
        )
    return partitions


def minutes_of(text: str | float) -> float | None:
    """A time as SLURM writes it ("30", "2:30:00", "1-00", "1-12:00:00") in minutes.

    None for no limit.

    Raises:
        BenchError: not a time.
    """
    value = str(text).strip().lower()
    if value in ("infinite", "unlimited", "n/a", "not_set"):
        return None
    match = re.fullmatch(r"(?:(\d+)-)?(\d+(?:\.\d+)?)(?::(\d+))?(?::(\d+))?", value)
    if match is None:
        raise BenchError(f"time {text!r} is not one of SLURM, such as 90, 12:00:00 or 1-12:00:00")
    days, *parts = match.groups()
    numbers = [float(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = [*numbers, 0.0, 0.0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0.0, [*numbers, 0.0][:2]
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60


def gpu_count(value: Any) -> int:
    """How many of something a parameter asks for: 2, "2" or, with its type, "h100:2".

    Raises:
        BenchError: not a number.
    """
    number = str(value or 0).rpartition(":")[2]
    if not number.isdecimal():
        raise BenchError(f"{value!r} is not a number, such as 2, or a type and a number, as h100:2")
    return int(number)


def limit_problems(
    limits: Limits, stage: str, tasks: int, parameters: Mapping[str, Any]
) -> list[str]:
    """One sentence for everything that this cluster would refuse.

    Args:
        limits: of the cluster; empty limits still check the time.
        stage: for the sentences.
        tasks: of the stage's array.
        parameters: partition, time, gpus_per_node, nodes, as submitit names them for SLURM.

    Raises:
        BenchError: a time or a number that is none.
    """
    problems = []
    minutes_of(parameters.get("time") or "infinite")
    if limits.max_array is not None and tasks > limits.max_array:
        problems.append(
            f"the {stage} stage has an array of {tasks:,} tasks, this cluster allows "
            f"{limits.max_array:,} (MaxArraySize); select fewer seeds or data sets at a time"
        )
    default = next((p.name for p in limits.partitions.values() if p.default), None)
    for name in str(parameters.get("partition") or default or "").split(","):
        if not limits.partitions:
            continue
        if name and name not in limits.partitions:
            problems.append(str(unknown("partition", name, limits.partitions)))
        elif name:
            problems += _partition_problems(limits.partitions[name], stage, parameters)
    return problems


def _partition_problems(
    partition: Partition, stage: str, parameters: Mapping[str, Any]
) -> list[str]:
    problems = []
    time = parameters.get("time")
    minutes = None if time is None else minutes_of(time)
    if minutes is not None and partition.minutes is not None and minutes > partition.minutes:
        problems.append(
            f"the {stage} stage asks for {minutes:g} minutes, the partition {partition.name!r} "
            f"allows {partition.minutes:g}"
        )
    asked = {"gpus_per_node": partition.gpus, "nodes": partition.nodes}
    for key, most in asked.items():
        if gpu_count(parameters.get(key)) > most:
            problems.append(
                f"the {stage} stage asks for {key}={parameters[key]}, the partition "
                f"{partition.name!r} has at most {most}"
            )
    return problems


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"SLURM does not answer: {error}") from None
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())[:200]
        raise BenchError(f"SLURM does not answer: {' '.join(command)}: {reason}")
    return done.stdout
