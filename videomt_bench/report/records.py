"""Read the records of a results folder and group them into rows of equal setting."""

from __future__ import annotations

import json
import marshal
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomt_bench.errors import BenchError
from videomt_bench.report.older import completed
from videomt_bench.runs.record import Record, record_content

if TYPE_CHECKING:
    from videomt_bench.report.cache import Cache

PREFERRED = ("AP", "VPQ", "STQ", "mIoU", "mVC8", "mVC16")
"""The main metrics of the three tasks, in the order of a table's columns."""

EXECUTION = (
    "cost",
    "device",
    "threads",
    "dataset.root",
    "weights.file",
    "recipe.segmenter_weights.file",
    "recipe.*.train.per_device",
    "recipe.*.train.workers",
    "recipe.*.train.prefetch",
    "recipe.*.train.checkpoint_interval",
    "recipe.*.train.checkpointing",
    "recipe.*.train.compile",
    "recipe.*.train.deterministic",
    "recipe.*.train.visualizers",
    "recipe.test.batch",
    "recipe.test.window",
    "recipe.test.buffer_mib",
    "recipe.test.compile",
)
"""Fields of a specification that change how a run is done, not its result.

They are those that run ids leave out; the rule itself lives in ``runs.spec``, which needs torch.
"""


@dataclass(frozen=True)
class Problem:
    """A file, or a part of a record, that a report could not use."""

    file: str
    reason: str


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed, in the order of their seeds."""

    spec: dict[str, Any]
    records: tuple[Record, ...]

    @property
    def variant(self) -> str:
        """The name of the variant."""
        return str(self.spec["variant"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the records."""
        return tuple(record.spec["seed"] for record in self.records)


def load_records(folder: Path, kept: Cache | None = None) -> tuple[list[Record], list[Problem]]:
    """Read ``folder/records/*.json``; what cannot be used is listed by name, the rest is used.

    Args:
        folder: the results.
        kept: files that it knows are not read again.

    Raises:
        BenchError: ``folder`` is not a folder.
    """
    if not folder.is_dir():
        raise BenchError(f"no results folder {folder}")
    known = kept.records() if kept else {}
    read: dict[str, tuple[str, Any]] = {}
    records: dict[str, Record] = {}
    settings: dict[bytes, dict[str, Any]] = {}
    problems = []
    for path in _record_files(folder / "records"):
        try:
            mark = stamp(path)
            old = known.get(path.name)
            content = old[1] if old and old[0] == mark else record_content(path)
            record = Record.from_json(content, path.name)
            _check(record)
        except BenchError as error:
            problems.append(Problem(path.name, str(error).replace(str(path), path.name)))
        except RecursionError:
            problems.append(Problem(path.name, "the JSON is nested too deeply"))
        else:
            read[path.name] = (mark, content)
            record.spec = _shared(record.spec, settings)
            records[path.name] = record
    if kept and read != known:
        kept.keep_records(read)
    return _one_of_each(records, problems)


def _shared(spec: dict[str, Any], known: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    """A complete specification; runs that differ in the seed alone share all its parts."""
    own = {key: value for key, value in spec.items() if key != "seed"}
    content = marshal.dumps(own, 2)  # much quicker than JSON; only compared, never read
    if content not in known:
        known[content] = completed(own)
    return {**known[content], "seed": spec["seed"]}


def _record_files(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".json")]
    except FileNotFoundError:
        return []


def _one_of_each(
    records: Mapping[str, Record], problems: list[Problem]
) -> tuple[list[Record], list[Problem]]:
    """The newest record of every run; the others of the same run are problems."""
    chosen: dict[str, str] = {}
    for file in sorted(records, key=lambda name: (_age(records[name]), name)):
        run_id = records[file].run_id
        if old := chosen.get(run_id):
            odd = disagreement(records[old], records[file])
            problems.append(Problem(old, f"a second record of run {run_id}, {odd}; {file} is used"))
        chosen[run_id] = file
    used = set(chosen.values())
    return [r for n, r in records.items() if n in used], sorted(problems, key=lambda p: p.file)


def _age(record: Record) -> tuple[bool, str, str]:
    """Ascends to the record that counts: completed before others, then the newest."""
    return record.state == "completed", str(record.updated), record.run_id


def disagreement(a: Record, b: Record) -> str:
    """What two records of one run say otherwise."""
    if a.state != b.state:
        return f"which disagrees: {a.state.replace('_', ' ')} and {b.state.replace('_', ' ')}"
    for name in (*PREFERRED, *sorted({*a.metrics, *b.metrics})):
        values = [r.metrics[name].value if name in r.metrics else None for r in (a, b)]
        if values[0] != values[1]:
            texts = ["none" if value is None else f"{value:.4g}" for value in values]
            return f"which disagrees on {name}: {' and '.join(texts)}"
    return "which disagrees on its cost" if a.cost != b.cost else "with the same metrics"


def _check(record: Record) -> None:
    """Reject a record whose parts a table would trip over."""
    spec = record.spec
    if not isinstance(spec, dict):
        raise BenchError("its spec is not a JSON object")
    wanted = {"variant": str, "encoder": dict, "dataset": dict, "recipe": dict, "seed": int}
    for key, kind in wanted.items():
        if not isinstance(spec.get(key), kind):
            raise BenchError(f"its spec has {key} {spec.get(key)!r}; wanted: {kind.__name__}")
    for name, metric in record.metrics.items():
        if metric.value is not None and not _is_number(metric.value):
            raise BenchError(f"its metric {name} has value {metric.value!r}; wanted: a number")
        if not isinstance(metric.n, int):
            raise BenchError(f"its metric {name} has n {metric.n!r}; wanted: a whole number")
    if record.cost is not None and not isinstance(record.cost, dict):
        raise BenchError("its cost is not a JSON object")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def stamp(path: Path) -> str:
    """The name, size and time of change of a file, by which it is known again.

    Raises:
        BenchError: it cannot be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise BenchError(f"cannot read {path.name}: {error.strerror or error}") from None
    return f"{path.name} {found.st_size} {found.st_mtime_ns}"


def stage_done(record: Record, stage: str) -> bool:
    """Whether what ``stage`` measured may be shown: the run or that stage came to its end."""
    done = record.stages.get(stage)
    return record.state == "completed" or (done is not None and done.state == "completed")


def metric_value(record: Record, name: str) -> float | None:
    """A metric of a finished evaluation: percent where it is a fraction, else as it is."""
    metric = record.metrics.get(name)
    if metric is None or metric.value is None or not stage_done(record, "evaluate"):
        return None
    return 100.0 * metric.value if metric.unit == "fraction" else float(metric.value)


def cost_value(record: Record, name: str) -> float | None:
    """A finished cost measurement; ``fps_model`` and ``fps_end_to_end`` name the two clocks."""
    cost: Mapping[str, Any] = record.cost or {}
    if name.startswith("fps_"):
        cost, name = cost.get("fps") or {}, name.removeprefix("fps_")
    value: Any = cost.get(name) if isinstance(cost, Mapping) else None
    return float(value) if _is_number(value) and stage_done(record, "cost") else None


def group_runs(records: Iterable[Record]) -> tuple[list[Group], list[Problem]]:
    """Group records by everything but the seed; of two runs of one seed the newest counts."""
    groups: dict[str, dict[int, Record]] = {}
    settings: dict[tuple[tuple[str, int], ...], str] = {}
    problems = []
    for record in sorted(records, key=_age):
        # runs that were read together share the parts of their specifications
        parts = tuple((k, id(value)) for k, value in record.spec.items() if k != "seed")
        if parts not in settings:
            settings[parts] = canonical(setting_of(record.spec))
        seeds = groups.setdefault(settings[parts], {})
        if old := seeds.get(record.spec["seed"]):
            reason = f"same specification and seed as run {record.run_id}, which is used"
            odd = disagreement(old, record).replace("which disagrees", "they disagree")
            problems.append(Problem(f"{old.run_id}.json", f"{reason}; {odd}"))
        seeds[record.spec["seed"]] = record
    grouped = [
        Group(json.loads(key), tuple(seeds[s] for s in sorted(seeds)))
        for key, seeds in sorted(groups.items())
    ]
    return grouped, sorted(problems, key=lambda p: p.file)


def setting_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification without its seed and without what changes no result.

    Of published weights that are the settings of training too.
    """
    setting = {key: value for key, value in _without_execution(spec).items() if key != "seed"}
    if setting.get("weights"):
        stages = ("segmenter", "video", "refine")
        setting["recipe"] = {k: v for k, v in setting["recipe"].items() if k not in stages}
    return setting


def _without_execution(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for key, value in fields.items():
        path = f"{prefix}{key}"
        if not _is_execution(path):
            nested = isinstance(value, Mapping)
            kept[key] = _without_execution(value, f"{path}.") if nested else value
    return kept


@cache
def _is_execution(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in EXECUTION)


def canonical(value: Any) -> str:
    """One text for equal JSON values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """The leaves of nested JSON under dotted names: ``{"a": [{"b": 1}]}`` is ``{"a.0.b": "1"}``."""
    if isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
        value = {str(i): v for i, v in enumerate(value)}
    if not isinstance(value, Mapping) or not value:
        return {prefix: value if isinstance(value, str) else canonical(value)}
    leaves: dict[str, str] = {}
    for key in sorted(value):
        leaves.update(flatten(value[key], f"{prefix}.{key}" if prefix else str(key)))
    return leaves


def differing(values: Iterable[Any]) -> list[dict[str, str]]:
    """For each value the leaves in which the values are not all equal."""
    flat = [flatten(value) for value in values]
    names = sorted({name for leaves in flat for name in leaves})
    split = [name for name in names if len({leaves.get(name) for leaves in flat}) > 1]
    return [{name: leaves.get(name, "none") for name in split} for leaves in flat]
