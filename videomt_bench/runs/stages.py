"""The stages of a run: segmenter, video, refine, evaluate, cost; each is done once."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size

from videomt_bench.cost.measure import count_cost, measure_cost
from videomt_bench.data.coco import CocoIndex
from videomt_bench.data.generate import make_ytvis
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.generate_semantic import make_vspw
from videomt_bench.data.layouts import Index, locate, open_dataset
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.submission import write_submission
from videomt_bench.evaluation.tasks import predict, score, written
from videomt_bench.files import replacing
from videomt_bench.models import (
    LearnedQueries,
    OfflineVideo,
    SlotSizes,
    VideoSegmenter,
    load_variant,
)
from videomt_bench.models.encoders import check_weights
from videomt_bench.runs.clips import open_split, training_clips
from videomt_bench.runs.environment import source
from videomt_bench.runs.record import STAGES, Metric, StageResult
from videomt_bench.runs.spec import DatasetSpec, RunSpec, StageSettings
from videomt_bench.runs.store import StageFolder, Store
from videomt_bench.runs.weights import WeightsFile
from videomt_bench.training.engine import TrainSettings, train

MAKERS = {"vipseg": make_vipseg, "vspw": make_vspw}
"""Layout -> what generates data in it; all others are that of YouTube-VIS."""


def check(spec: RunSpec, store: Store, names: Sequence[str] = STAGES) -> None:
    """Everything that can be known to fail before any work: names, weights, data, results folder.

    The cost alone needs neither weights nor data.

    Raises:
        BenchError: the first thing that is wrong.
    """
    variant = load_variant(spec.variant)
    if spec.weights is None:
        if variant.refiner is not None:
            spec.refiner_training()
        load_variant(spec.online.variant)
    encoder = spec.model().encoder
    check_weights(encoder if needs_data(names) else replace(encoder, weights=None))
    store.check_writable()
    if not needs_data(names):
        return
    for file in spec.files():
        file.check()
    if not spec.dataset.generate:
        for layout, root, split in spec.reads():
            locate(layout, Path(root), split)


def needs_data(names: Sequence[str]) -> bool:
    """Whether any of the stages reads data and weights."""
    return bool(set(names) - {"cost"})


def prepare_data(
    dataset: DatasetSpec,
    report: Callable[[int, int], None] | None = None,
    tested_alone: bool = False,
) -> None:
    """Generate the splits of a generated data set that are not there yet, and read all.

    Args:
        dataset: the data set.
        report: receives how many videos are made, and of how many.
        tested_alone: read the test split alone, of what need not be learned from.

    Raises:
        BenchError: a split is missing, empty, not annotated or malformed.
    """
    for settings in dataset.generate:
        MAKERS.get(dataset.layout, make_ytvis)(Path(dataset.root), settings, report)
    *learned, tested = dataset.splits()[-1:] if tested_alone else dataset.splits()
    for layout, root, split in dict.fromkeys((*learned, tested)):
        index = open_dataset(layout, Path(root), split)
        where = f"split {split!r} of {dataset.name!r} in {root}"
        if (layout, root, split) in learned and not is_annotated(index):
            raise BenchError(f"{where} has no annotations, which training needs")
        if len(index.categories) != dataset.num_classes:
            raise BenchError(
                f"{where} has {len(index.categories)} categories, "
                f"not {dataset.num_classes} as the experiment says"
            )


def train_segmenter(spec: RunSpec, store: Store) -> StageResult:
    """Image-level training of the variant's segmenter, shared by all runs with the same one."""
    variant = load_variant(spec.variant)
    stage_id = spec.segmenter_id(variant)
    folder = store.stage(stage_id)
    if done := folder.done("segmenter"):
        return done
    settings = spec.recipe.segmenter

    def build() -> VideoSegmenter:
        model = variant.build(spec.model())
        sizes = SlotSizes(spec.recipe.num_queries, model.segmenter.dim, spec.dataset.num_classes)
        part = model.tracker.image_stage() if variant.joint_stage else None
        return VideoSegmenter(model.segmenter, LearnedQueries(sizes), part)

    if spec.recipe.segmenter_weights is not None:
        return _take(spec, folder, stage_id, spec.recipe.segmenter_weights, build)
    return _train(spec, folder, "segmenter", stage_id, settings, settings.train, build)


def train_video(spec: RunSpec, store: Store) -> StageResult:
    """Clip-level training of the variant, from its segmenter; that of ``spec.online``."""
    spec = spec.online
    variant = load_variant(spec.variant)
    folder = store.stage(spec.run_id)
    if done := folder.done("video"):
        return done
    segmenter = store.stage(spec.segmenter_id(variant))
    if segmenter.done("segmenter") is None:
        needed = segmenter.path.name
        raise BenchError(f"run {spec.run_id} needs the stage {needed}, which is not done")

    def build() -> VideoSegmenter:
        model = variant.build(spec.model())
        load_segmenter(model, segmenter.model)
        return model

    settings = spec.recipe.video
    matching = spec.video_training(variant)
    return _train(spec, folder, "video", spec.run_id, settings, matching, build)


def train_refiner(spec: RunSpec, store: Store) -> StageResult:
    """Training of a refiner on the video stage of its online variant; that of ``spec.trained``."""
    spec = spec.trained
    settings = spec.refiner_training()
    folder = store.stage(spec.run_id)
    if done := folder.done("refine"):
        return done
    online = store.stage(spec.online.run_id)
    if online.done("video") is None:
        raise BenchError(f"run {spec.run_id} needs run {spec.online.run_id}, which is not trained")

    def build() -> VideoSegmenter:
        model = load_variant(spec.variant).build(spec.model())
        load_online(model, online.model)
        return OfflineVideo(model)

    assert spec.recipe.refine is not None
    return _train(spec, folder, "refine", spec.run_id, spec.recipe.refine, settings, build)


def evaluate(spec: RunSpec, store: Store) -> tuple[StageResult, dict[str, Metric]]:
    """Predict the test split, keep predictions and per-video statistics, and score them.

    A split whose truth is withheld gets predictions and no scores.
    """
    folder = store.stage(spec.run_id)
    dataset, split = spec.dataset, spec.dataset.test_split
    model, weights = _tested(spec, store)
    index = open_split(dataset, split)
    start = time.monotonic()
    predictions = predict(
        model,
        index,
        folder.path,
        spec.recipe.test,
        lambda done, total: folder.report("evaluate", done, total, {}),
    )
    scores = {}
    if is_annotated(index):
        files = locate(dataset.layout, Path(dataset.root), split)
        scores = score(index, files, split, predictions, store.stats_path(spec.run_id))
    seconds = time.monotonic() - start
    metrics = {name: Metric(*value) for name, value in scores.items()}
    detail = {"videos": len(index.videos), **({"weights": weights} if weights else {})}
    return _completed(spec.run_id, seconds, detail), metrics


def submission(spec: RunSpec, store: Store, target: Path) -> Path:
    """Pack the predictions of an evaluated run into a zip for an evaluation server.

    Raises:
        BenchError: it is not evaluated, or its predictions are not complete.
    """
    index = open_split(spec.dataset, spec.dataset.test_split)
    predictions = written(index, store.stage(spec.run_id).path)
    return write_submission(predictions, index, target)


def cost(spec: RunSpec, store: Store) -> tuple[StageResult, dict[str, Any]]:
    """Parameters, operations, speed and memory of the variant; weights do not matter for it."""
    folder = store.stage(spec.run_id)
    folder.report("cost", 0, 1, {})
    start = time.monotonic()
    sizes = spec.model()
    sizes = replace(sizes, encoder=replace(sizes.encoder, weights=None))
    build = partial(load_variant(spec.variant).build, sizes)
    height, width = spec.cost.input
    if spec.cost.frames == 0:
        values = count_cost(build, height, width, spec.cost.video_frames)
    else:
        values = measure_cost(
            build().eval(),
            height,
            width,
            frames=spec.cost.frames,
            warmup=spec.cost.warmup,
            device=spec.cost.device,
            precision=spec.cost.precision,
            compile_mode=spec.cost.compile,
            source=spec.cost.source,
            video_frames=spec.cost.video_frames,
        )
    folder.report("cost", 1, 1, {})
    return _completed(spec.run_id, time.monotonic() - start), values


def load_run(spec: RunSpec, store: Store) -> VideoSegmenter:
    """The trained model of a run, or the published one that it tests.

    Raises:
        BenchError: it is not trained, or its file does not fit.
    """
    return _tested(spec, store)[0]


def _tested(spec: RunSpec, store: Store) -> tuple[VideoSegmenter, dict[str, Any]]:
    """The model of a run, and what is to be said of the published weights that it has."""
    if spec.weights is not None:
        model = load_variant(spec.variant).build(spec.model())
        found = spec.weights.load(model)
        return model.to(spec.device).eval(), found
    folder = store.stage(spec.trained.run_id)
    last = "video" if spec.recipe.refine is None else "refine"
    if folder.done(last) is None:
        raise BenchError(f"run {spec.run_id} is not trained yet; run its {last} stage first")
    model = load_variant(spec.variant).build(spec.model())
    load_weights(model, folder.model)
    return model.to(spec.device).eval(), {}


def load_weights(model: VideoSegmenter, file: Path) -> None:
    """Load all weights of a model from a file.

    Raises:
        BenchError: unreadable, or of another model.
    """
    _load(model, read_weights(file), file, absent=())


def load_segmenter(model: VideoSegmenter, file: Path) -> None:
    """Start a model from the result of its segmenter stage.

    What the stage cannot know, the rest of the memory and the tracker, keeps its initialisation.
    """
    _load(model, read_weights(file), file, absent=("memory.", "tracker."))


def load_online(model: VideoSegmenter, file: Path) -> None:
    """Start an offline model from the result of its online variant's video stage."""
    _load(model, read_weights(file), file, absent=("refiner.",))


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """A state dict from a file of weights; nothing in the file is executed.

    Raises:
        BenchError: unreadable, or holding anything but weights.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BenchError(f"cannot read weights from {file}: {reason}") from None


def _load(
    model: VideoSegmenter, state: dict[str, torch.Tensor], file: Path, absent: tuple[str, ...]
) -> None:
    own = model.state_dict()
    missing = [k for k in own if k not in state and not k.startswith(absent or "\0")]
    unexpected = [k for k in state if k not in own]
    shapes = [k for k in state if k in own and state[k].shape != own[k].shape]
    if missing or unexpected or shapes:
        raise BenchError(
            f"weights of {file} do not fit the model: missing {missing[:5]}, "
            f"unexpected {unexpected[:5]}, other shape {shapes[:5]}"
        )
    model.load_state_dict(state, strict=False)


def _take(
    spec: RunSpec,
    folder: StageFolder,
    stage_id: str,
    weights: WeightsFile,
    build: Callable[[], VideoSegmenter],
) -> StageResult:
    """Published weights as the result of the segmenter stage; nothing is trained."""
    start = time.monotonic()
    torch.manual_seed(spec.seed)
    model = build()
    found = weights.load(model)
    result = _completed(stage_id, time.monotonic() - start, {"weights": found})
    if get_rank() == 0:
        _save_weights(model, folder.model)
        folder.finish("segmenter", result)
    return result


def _train(
    spec: RunSpec,
    folder: StageFolder,
    name: str,
    stage_id: str,
    stage: StageSettings,
    settings: TrainSettings,
    build: Callable[[], VideoSegmenter],
) -> StageResult:
    clips = training_clips(spec.dataset, stage, spec.seed)
    torch.manual_seed(spec.seed)
    model = build().to(spec.device)
    start = time.monotonic()
    marks: list[tuple[int, float]] = []

    def report(step: int, total: int, losses: dict[str, float]) -> None:
        marks[1:] = [(step, time.monotonic())]  # the first and the last
        folder.report(name, step, total, losses)

    train(model, clips, settings, folder.path / name, spec.seed, report)
    result = _completed(
        stage_id,
        time.monotonic() - start,
        {
            "iterations": settings.iterations,
            "batch": settings.batch,
            "processes": get_world_size(),
            "seconds_per_iteration": _pace(marks),
        },
    )
    if get_rank() == 0:
        _save_weights(model, folder.model)
        folder.finish(name, result)
    return result


def _completed(
    stage_id: str, seconds: float, detail: Mapping[str, Any] | None = None
) -> StageResult:
    """What a stage did, and the code that did it, which may not be that of the next stage."""
    return StageResult(stage_id, "completed", seconds, {**(detail or {}), "source": source()})


def _pace(marks: Sequence[tuple[int, float]]) -> float | None:
    """Seconds per iteration between two (step, time) of this process, which may have resumed."""
    if len(marks) < 2 or marks[1][0] <= marks[0][0]:
        return None
    return (marks[1][1] - marks[0][1]) / (marks[1][0] - marks[0][0])


def is_annotated(index: Index) -> bool:
    """Whether a split has ground truth."""
    return isinstance(index, CocoIndex) or index.annotated


def _save_weights(model: VideoSegmenter, file: Path) -> None:
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    try:
        with replacing(file) as target:
            torch.save(state, target)
    except RuntimeError as error:
        raise BenchError(f"cannot write {file}: {error}") from None
