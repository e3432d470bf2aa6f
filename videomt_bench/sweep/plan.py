"""What a sweep would do: its runs, what of them is done, what the rest needs, what is wrong.

Nothing is written and nothing is submitted.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import try_to_load_from_cache

from videomt_bench.data.layouts import locate
from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, Variant, load_variant
from videomt_bench.models.encoders import check_weights
from videomt_bench.runs.record import STAGES, TRAINING, Record, read_record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.stages import needs_data
from videomt_bench.runs.store import Store
from videomt_bench.sweep import slurm
from videomt_bench.sweep.estimate import History, Need, need_of
from videomt_bench.sweep.experiment import Experiment
from videomt_bench.sweep.limits import Limits, gpu_count, limit_problems, minutes_of, read_limits

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
SHOWN = 60
"""Runs that a table lists at most."""


@dataclass(frozen=True)
class RunPlan:
    """A run: the state of its record ("planned" without one), the stages done and to do."""

    run_id: str
    variant: str
    encoder: str
    dataset: str
    seed: int
    state: str
    done: tuple[str, ...]
    todo: tuple[str, ...]
    segmenter: str
    """The stage that it starts from, shared with other runs."""


@dataclass(frozen=True)
class StagePlan:
    """A stage of all runs: ``jobs`` to do with the needs of the largest, ``done`` already done.

    ``hours`` is the time of the longest job on its ``gpus`` GPUs; ``total_hours`` sums the jobs and
    counts every GPU, or the process where there is none. ``basis`` says where the hours come from.
    """

    stage: str
    jobs: int
    done: int
    gpus: int
    memory_gib: float
    hours: float
    total_hours: float
    basis: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What ``plan`` found; ``problems`` keep a sweep from starting, ``warnings`` do not."""

    name: str
    runs: tuple[RunPlan, ...]
    stages: tuple[StagePlan, ...]
    missing: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def gpu_hours(self) -> float:
        """Of everything to do on GPUs."""
        return sum(stage.total_hours for stage in self.stages if stage.gpus)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {**asdict(self), "gpu_hours": self.gpu_hours}

    def table(self) -> Any:
        """The plan for a console of rich."""
        from videomt_bench.sweep.plan_table import plan_table

        return plan_table(self, SHOWN)


def plan(
    experiment: Experiment,
    results: Path,
    given: Mapping[str, Any] | None = None,
    names: Sequence[str] = STAGES,
    limits: Limits | None = None,
    ask_slurm: bool = True,
) -> Plan:
    """Plan a sweep. Every record is read once, SLURM is asked at most once per question.

    Args:
        experiment: what to run.
        results: the folder of records and work files.
        given: SLURM parameters for all stages or, as "stage.key", for one; None: the sweep does
            not go to SLURM.
        names: the stages to do.
        limits: of the cluster, if they are known.
        ask_slurm: ask the cluster for them otherwise.

    Raises:
        BenchError: a change in the experiment names a setting that is not there.
    """
    store, problems, warnings = Store(results), [], []
    if given is not None and (wrong := _sentence(slurm.check_given, given)):
        problems, given = wrong, {}
    specs = experiment.runs()
    variants, bad = _variants(specs)
    problems += bad + _check(specs, names, results)
    ids = [spec.run_id for spec in specs]
    problems += [f"the run {i} is {n} times in the grid" for i, n in Counter(ids).items() if n > 1]
    records, unreadable = _records(store, variants)
    problems += unreadable
    known = [(i, spec) for i, spec in zip(ids, specs, strict=True) if spec.variant in variants]
    stems = [(i, spec, spec.segmenter_id(variants[spec.variant])) for i, spec in known]
    segmenters, unreadable = _segmenters(stems, store, records)
    problems += unreadable
    runs = [_run(stem, records.get(stem[0]), stem[2] in segmenters, names) for stem in stems]
    warnings += _weights_warnings(specs) if needs_data(names) else []
    if given is not None and limits is None and ask_slurm:
        limits, note = _limits()
        warnings += note
    loadable = [spec for _, spec in known]
    needs = _needs(loadable, History(records.values()), names)
    planned = []
    for name in [name for name in names if any(name in run.done + run.todo for run in runs)]:
        stage = _stage(name, runs, loadable, needs, names, given)
        planned.append(stage)
        if stage.jobs:
            problems += _stage_problems(stage, specs, limits)
            warnings += _stage_warnings(stage)
    missing = tuple(experiment.missing())
    return Plan(
        experiment.name, tuple(runs), tuple(planned), missing, _unique(problems), _unique(warnings)
    )


def _variants(specs: Sequence[RunSpec]) -> tuple[dict[str, Variant], list[str]]:
    """The variants of the runs by name, and a sentence for each that cannot be loaded."""
    variants, problems = {}, []
    for name in _unique(spec.variant for spec in specs):
        try:
            variants[name] = load_variant(name)
        except BenchError as error:
            problems.append(str(error))
    return variants, problems


def _records(store: Store, variants: Container[str]) -> tuple[dict[str, Record], list[str]]:
    """The records of these variants by run id, and a sentence for each that cannot be read."""
    folder = store.root / "records"
    records, problems = {}, []
    for entry in sorted(os.listdir(folder)) if folder.is_dir() else []:
        stem, suffix = os.path.splitext(entry)
        if suffix != ".json" or stem.rsplit("-", 2)[0] not in variants:
            continue
        try:
            records[stem] = read_record(folder / entry)
        except BenchError as error:
            problems.append(str(error))
    return records, problems


def _segmenters(
    stems: Sequence[tuple[str, RunSpec, str]], store: Store, records: Mapping[str, Record]
) -> tuple[set[str], list[str]]:
    """The segmenters that are done, of runs that are not, and a sentence for each unreadable."""
    done, problems = set(), []
    wanted = {stem[2] for stem in stems if _unfinished(records.get(stem[0]))}
    for segmenter in sorted(wanted):
        try:
            if store.stage(segmenter).done("segmenter") is not None:
                done.add(segmenter)
        except BenchError as error:
            problems.append(str(error))
    return done, problems


def _unfinished(record: Record | None) -> bool:
    return record is None or record.state != "completed"


def _run(
    stem: tuple[str, RunSpec, str], record: Record | None, segmented: bool, names: Sequence[str]
) -> RunPlan:
    run_id, spec, segmenter = stem
    stages = record.stages if record else {}
    done = {name for name, result in stages.items() if result.state == "completed"}
    if not _unfinished(record):
        done = set(spec.stage_names)
    elif segmented or "video" in done:
        done |= {"segmenter"}
    return RunPlan(
        run_id,
        spec.variant,
        spec.encoder.name,
        spec.dataset.name,
        spec.seed,
        record.state if record else "planned",
        tuple(name for name in spec.stage_names if name in done),
        tuple(name for name in names if name in spec.stage_names and name not in done),
        segmenter,
    )


def _needs(
    specs: Sequence[RunSpec], history: History, names: Sequence[str]
) -> dict[tuple[int, str], Need]:
    """The need of every run and stage; runs that differ in the seed alone share one."""
    needs: dict[tuple[int, str], Need] = {}
    cells: dict[tuple[str, int, int, int], dict[str, Need]] = {}
    for i, spec in enumerate(specs):
        cell = (spec.variant, id(spec.encoder), id(spec.dataset), id(spec.recipe))
        if cell not in cells:
            try:
                cells[cell] = {name: need_of(spec, name, history) for name in names}
            except BenchError:
                cells[cell] = {}
        needs |= {(i, name): need for name, need in cells[cell].items()}
    return needs


def _stage(
    name: str,
    runs: Sequence[RunPlan],
    specs: Sequence[RunSpec],
    needs: Mapping[tuple[int, str], Need],
    names: Sequence[str],
    given: Mapping[str, Any] | None,
) -> StagePlan:
    """A shared segmenter is one job; it is wanted by the runs whose segmenter is to do.

    So is the training that a run is tested with but does not do itself.
    """
    jobs: dict[str, int] = {}
    finished = set()
    for i, run in enumerate(runs):
        job = run.segmenter if name == "segmenter" else run.run_id
        if name in ("video", "refine"):
            job = specs[i].owner(name)
        if name in run.todo:
            jobs.setdefault(job, i)
        elif name in run.done:
            finished.add(job)
    if name in ("video", "refine"):
        jobs = {job: i for job, i in jobs.items() if job not in finished}
    chosen = [needs[i, name] for i in jobs.values() if (i, name) in needs]
    first = next(iter(jobs.values()), None)
    told = {} if first is None or given is None else _parameters(name, specs[first], names, given)
    gpus = 0 if first is None or _device(specs[first], name) == "cpu" else _gpus(told)
    longest = max((need.hours for need in chosen), default=0.0)
    return StagePlan(
        stage=name,
        jobs=len(jobs),
        done=len(finished - set(jobs)),
        gpus=gpus,
        memory_gib=max((need.memory_gib for need in chosen), default=0.0),
        hours=longest / max(1, gpus),
        total_hours=sum(need.hours for need in chosen),
        basis=_unique(need.basis for need in chosen),
        parameters=told,
    )


def _parameters(
    stage: str, spec: RunSpec, names: Sequence[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What submitit is told about the job that does the stage."""
    jobs = slurm.split_stages(names, spec, given)
    return slurm.parameters(next(job for job in jobs if stage in job), spec, given)


def _device(spec: RunSpec, stage: str) -> str:
    return spec.cost.device if stage == "cost" else spec.device


def _gpus(parameters: Mapping[str, Any]) -> int:
    """GPUs of a job."""
    return max(1, gpu_count(parameters.get("gpus_per_node"))) * int(parameters.get("nodes") or 1)


def _stage_problems(stage: StagePlan, specs: Sequence[RunSpec], limits: Limits | None) -> list[str]:
    problems = []
    if stage.stage in TRAINING and stage.gpus > 1:
        stages = [getattr(s.recipe, stage.stage) for s in specs if stage.stage in s.stage_names]
        for batch in sorted({settings.train.batch for settings in stages}):
            if batch % stage.gpus:
                problems.append(
                    f"the {stage.stage} stage has batches of {batch} clips, which {stage.gpus} "
                    "GPUs cannot share evenly"
                )
    if stage.parameters:
        tasks = min(stage.jobs, slurm.LARGEST_ARRAY)
        try:
            problems += limit_problems(limits or Limits(), stage.stage, tasks, stage.parameters)
        except BenchError as error:
            problems.append(str(error))
    return problems


def _stage_warnings(stage: StagePlan) -> list[str]:
    """A time limit that is shorter than the work is possible, and said."""
    try:
        minutes = minutes_of(stage.parameters.get("time", "infinite"))
    except BenchError:
        return []
    if minutes is None or stage.hours * 60 <= minutes:
        return []
    pieces = math.ceil(stage.hours * 60 / minutes)
    return [
        f"the {stage.stage} stage will need about {stage.hours:.1f} h in a time limit of "
        f"{minutes:g} minutes: about {pieces} pieces per job"
    ]


def _limits() -> tuple[Limits | None, list[str]]:
    try:
        limits = read_limits()
    except BenchError as error:
        return None, [f"the limits of the cluster are not checked: {error}"]
    if limits is None:
        return None, ["the limits of the cluster are not checked: there is no SLURM here"]
    return limits, []


def _check(specs: Sequence[RunSpec], names: Sequence[str], results: Path) -> list[str]:
    """What would fail later: weights, data and the results folder; each is checked once."""
    problems: list[str] = []
    if not specs:
        problems.append("the experiment has no run: none of its variants and encoders exists yet")
    data = needs_data(names)
    for encoder in _encoders(specs):
        problems += _sentence(check_weights, encoder if data else replace(encoder, weights=None))
        if data and encoder.weights == "timm" and _repository(encoder.name) is None:
            problems.append(f"timm has no weights for the encoder {encoder.name!r}")
    for dataset in {id(s.dataset): s.dataset for s in specs}.values() if data else ():
        for layout, root, split in () if dataset.generate else dataset.splits():
            problems += _sentence(locate, layout, Path(root), split)
    folder = next(p for p in (results.absolute(), *results.absolute().parents) if p.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        problems.append(f"the results folder {results} cannot be written")
    return problems


def _encoders(specs: Sequence[RunSpec]) -> list[EncoderSpec]:
    return list(dict.fromkeys(spec.model().encoder for spec in specs))


def _weights_warnings(specs: Sequence[RunSpec]) -> list[str]:
    """Weights that a job would have to download, which many compute nodes cannot."""
    return [
        f"the weights of {encoder.name} are not in timm's cache; load them once where there is a "
        "network, or the first job has to"
        for encoder in _encoders(specs)
        if encoder.weights == "timm"
        and (repository := _repository(encoder.name)) is not None
        and not any(isinstance(try_to_load_from_cache(repository, f), str) for f in HUB_FILES)
    ]


def _repository(name: str) -> str | None:
    """Where timm has the weights of an encoder, or None when there are none."""
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        return None
    return config.hf_hub_id if config is not None else None


def _sentence(check: Any, *arguments: Any) -> list[str]:
    try:
        check(*arguments)
    except BenchError as error:
        return [str(error)]
    return []


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
