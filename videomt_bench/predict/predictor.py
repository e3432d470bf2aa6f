"""A model that is ready to predict: from a trained run, or from a file of weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from videomt_bench.data.classes import BENCHMARKS, Category, PanopticCategory, dataset_categories
from videomt_bench.data.layouts import open_dataset
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import ModelSpec, VideoSegmenter, load_variant
from videomt_bench.predict.classes import Classes, Task, classes_of, named_classes
from videomt_bench.predict.running import RunningMean
from videomt_bench.predict.segments import (
    INSTANCE_THRESHOLD,
    PANOPTIC_THRESHOLD,
    Instances,
    Panoptic,
    Semantic,
)
from videomt_bench.predict.segments import Task as SegmentTask
from videomt_bench.predict.stream import Stream
from videomt_bench.runs.config import to_dict
from videomt_bench.runs.spec import DatasetSpec, RunSpec
from videomt_bench.runs.stages import load_run, load_weights
from videomt_bench.runs.store import Store

DENSE: dict[str, Task] = {"vipseg": "panoptic", "vspw": "semantic"}
"""Layouts of data sets whose task is not instances."""


@dataclass(frozen=True)
class Ranking:
    """What of a model's outputs is shown."""

    threshold: float | None = None
    """Of the class probability; None: that of the task."""
    top_k: int | None = None
    """At most so many tracks per frame; None: as in evaluation. Of instances only."""
    horizon: int | None = None
    """Of the class scores; see :class:`videomt_bench.predict.running.RunningMean`."""


@dataclass(frozen=True)
class Predictor:
    """A model, what its outputs mean, and how frames enter it. It serves any number of videos.

    Raises:
        BenchError: an offline model, which has no results before a video ends.
    """

    model: VideoSegmenter
    classes: Classes
    settings: InferenceSettings
    origin: dict[str, Any]
    """Where the model comes from, for the summary."""
    ranking: Ranking = field(default_factory=Ranking)

    def __post_init__(self) -> None:
        if self.model.refiner is not None:
            raise BenchError(
                "an offline model refines whole videos, of which a stream has no end; predict with "
                "its online variant, or evaluate it"
            )

    def stream(self) -> Stream:
        """The way of a new video through the model."""
        return Stream(self.model, self._task(), self.settings, self.ranking.horizon)

    def to_json(self) -> dict[str, Any]:
        """Everything that decides a result, as JSON values."""
        return {
            "model": self.origin,
            "task": self.classes.task,
            "categories": self.classes.to_json(),
            "settings": to_dict(self.settings),
            "ranking": to_dict(self.ranking),
        }

    def _task(self) -> SegmentTask:
        threshold, horizon = self.ranking.threshold, self.ranking.horizon
        if self.classes.task == "semantic":
            return Semantic(self.classes)
        if self.classes.task == "panoptic":
            limit = PANOPTIC_THRESHOLD if threshold is None else threshold
            return Panoptic(self.classes, RunningMean(horizon), limit)
        limit = INSTANCE_THRESHOLD if threshold is None else threshold
        return Instances(self.classes, self.ranking.top_k or self.settings.top_k, limit)


def from_run(
    spec: RunSpec, store: Store, classes: str | None, task: str | None, device: str | None
) -> Predictor:
    """The predictor of a trained run.

    Args:
        spec: the run.
        store: where it was trained.
        classes: a benchmark or file, instead of the classes of the run's data set.
        task: instead of that of its data set.
        device: instead of its own.

    Raises:
        BenchError: it is not trained, or its classes are not known.
    """
    model = load_run(replace(spec, device=device or spec.device), store)
    found = named_classes(classes, task) if classes else dataset_classes(spec.dataset, task)
    check_count(found, spec.dataset.num_classes, f"run {spec.run_id}")
    origin = {"run": spec.run_id, "variant": spec.variant, "dataset": spec.dataset.name}
    return Predictor(model, found, spec.recipe.test, origin)


def from_weights(
    variant: str,
    spec: ModelSpec,
    weights: Path,
    classes: Classes,
    settings: InferenceSettings,
    device: str,
) -> Predictor:
    """The predictor of a variant with weights from a file, such as the ``model.pth`` of a run.

    Raises:
        BenchError: no such variant or encoder, or the weights do not fit it.
    """
    model = load_variant(variant).build(spec)
    load_weights(model, weights)
    origin = {"weights": str(weights), "variant": variant, "encoder": spec.encoder.name}
    return Predictor(model.to(device).eval(), classes, settings, origin)


def dataset_classes(dataset: DatasetSpec, task: str | None) -> Classes:
    """The classes of a run's data set: from its files, or by its name where it is a benchmark.

    Raises:
        BenchError: neither is there.
    """
    default: Task = DENSE.get(dataset.layout, "instances")
    return classes_of(_categories(dataset), task, default)


def _categories(dataset: DatasetSpec) -> list[Category] | list[PanopticCategory]:
    try:
        return list(open_dataset(dataset.layout, Path(dataset.root), dataset.test_split).categories)
    except BenchError as error:
        if dataset.layout not in BENCHMARKS:
            raise BenchError(
                f"the names of the classes of {dataset.name!r} are in its data, and {error}; "
                "or name them with --classes"
            ) from None
    return list(dataset_categories(dataset.layout))


def check_count(classes: Classes, expected: int, whose: str) -> None:
    """Raise a :class:`BenchError` unless there are as many classes as outputs."""
    if len(classes.categories) != expected:
        raise BenchError(f"{len(classes.categories)} classes are named, but {whose} has {expected}")
