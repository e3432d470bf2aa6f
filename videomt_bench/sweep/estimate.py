"""What a stage of a run will need: from earlier runs of the same kind, else a stated estimate.

The estimate counts the multiply-accumulates of the encoder (EoMT, CVPR 2025, has little beside it)
and divides by a throughput that is named in the answer, so that it can be judged and replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, Variant, load_variant
from videomt_bench.models.encoders import SMALL_ENCODERS, build_encoder, is_pyramid
from videomt_bench.runs.record import TRAINING, Record, StageResult
from videomt_bench.runs.spec import RunSpec, StageSettings
from videomt_bench.sweep.pyramid_work import pyramid_work

WIDTHS = {
    "tiny": (192, 12),
    "small": (384, 12),
    "base": (768, 12),
    "large": (1024, 24),
}
"""Width and depth of a ViT by the word of its size."""
THROUGHPUT = {"fp32": 15e12, "fp16": 60e12, "bf16": 60e12}
"""Operations per second that training keeps up on one GPU of the class of an H100."""
CPU_THROUGHPUT = 10e9
"""The same of one CPU thread on a small model."""
EVALUATION_FPS = 10.0
"""Frames per second on a GPU, decoding and writing of predictions included."""
TEST_FRAMES = {
    "ytvis_2019": 8_300,
    "ytvis_2021": 12_600,
    "ytvis_2022": 17_000,
    "ovis": 9_700,
    "vipseg": 8_200,
    "vspw": 24_400,
}
"""Roughly, by layout: videos of the validation split times the mean length over the data set."""
COST_HOURS = {"cpu": 0.02, "cuda": 0.25}
"""Of measuring parameters, operations, speed and memory of a model, by device."""
COPY_HOURS = 0.02
"""Of putting published weights in the place of a segmenter stage."""
SECONDS_PER_HOUR = 3600.0
GIB = 2.0**30


@dataclass(frozen=True)
class Need:
    """What one job of a stage needs.

    ``hours`` is the time on one GPU (or in one process without a GPU); ``memory_gib`` that of the
    GPU (or of the process) with margin. ``basis`` says where the hours come from.
    """

    hours: float
    memory_gib: float
    measured: bool
    basis: str


class History:
    """Earlier runs by what decides how long a stage takes.

    Args:
        records: any records; runs of unknown variants and unfinished stages are left out.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._results: dict[tuple[str, ...], list[tuple[StageResult, str]]] = {}
        seen: set[tuple[str, str]] = set()
        for record in records:
            gpu = record.environment.get("gpu")
            place = (gpu if record.spec.get("device", "cpu") != "cpu" else "cpu") or "cpu"
            for stage, result in record.stages.items():
                key = _key(record.spec, stage)
                if key is None or result.state != "completed" or (stage, result.id) in seen:
                    continue
                seen.add((stage, result.id))
                self._results.setdefault(key, []).append((result, place))

    def find(self, spec: RunSpec, stage: str) -> list[tuple[StageResult, str]]:
        """Results of the stage in runs of the same kind, and the GPU of each, or "cpu"."""
        key = _key(spec.to_json(), stage)
        return self._results.get(key, []) if key else []


def need_of(spec: RunSpec, stage: str, history: History) -> Need:
    """What one job of a stage of a run needs.

    Raises:
        BenchError: the variant or the encoder does not exist.
    """
    if stage == "segmenter" and spec.recipe.segmenter_weights is not None:
        return Need(COPY_HOURS, 4 * _weights_gib(spec) + 1, False, "estimate: weights are copied")
    stated = _stated(spec, stage)
    found = history.find(spec, stage)
    if not found:
        return stated
    training = _training(spec, stage)
    iterations = training.train.iterations if training is not None else None
    hours = [_measured_hours(result, iterations) for result, _ in found]
    peaks = [r.detail["peak_memory_mib"] / 1024 for r, _ in found if "peak_memory_mib" in r.detail]
    places = ", ".join(sorted({place for _, place in found}))
    runs = f"{len(found)} earlier run{'s' * (len(found) > 1)}"
    return Need(
        hours=sum(hours) / len(hours),
        memory_gib=1.2 * max(peaks) if peaks else stated.memory_gib,
        measured=True,
        basis=f"measured: mean of {runs} on {places}",
    )


def _measured_hours(result: StageResult, iterations: int | None) -> float:
    """Hours of all its processes, for another number of iterations where there are any.

    The seconds of a training that resumed are those of its last piece; its pace is not.
    """
    seconds, detail = result.seconds, result.detail
    if iterations is not None:
        pace = detail.get("seconds_per_iteration")
        pace = pace or seconds / max(1, detail.get("iterations", iterations))
        seconds = pace * iterations
    return seconds * detail.get("processes", 1) / SECONDS_PER_HOUR


def gmacs_per_frame(encoder: EncoderSpec, pixels: float) -> float:
    """Multiply-accumulates (1e9) of a plain ViT and EoMT's mask features on ``pixels`` pixels, or
    of a pyramid and the decoders of Mask2Former.

    A pyramid is counted. A ViT has 12 d² L P for the linear layers, 2 d L P² for attention,
    20 d² P for the up-sampling to stride 4, at width d, depth L and P patches; queries and heads
    are left out.
    """
    if is_pyramid(encoder.name):
        return pixels * pyramid_work(encoder.name).macs / 1e9
    width, depth = _width_and_depth(encoder)
    patches = pixels / encoder.patch_size**2
    linear = 12 * width**2 * depth * patches + 20 * width**2 * patches
    return (linear + 2 * width * depth * patches**2) / 1e9


def _key(spec: Mapping[str, Any], stage: str) -> tuple[str, ...] | None:
    """What decides the time of a stage, but for the number of iterations."""
    recipe, name = spec["recipe"], spec["variant"]
    settings: Any = recipe["test"] if stage == "evaluate" else spec.get("cost")
    if stage in TRAINING:
        settings = recipe.get(stage)
        if settings is None:
            return None
        train = {k: v for k, v in settings["train"].items() if k not in NOT_TIMED}
        settings = [settings["frames"], settings["augmentation"], train, recipe["num_queries"]]
    if stage == "segmenter":
        try:
            name = load_variant(name).slots()["segmenter"]
        except BenchError:
            return None
    encoder = {k: v for k, v in spec["encoder"].items() if k != "weights"}
    where = [spec["dataset"]["name"] if stage != "cost" else "", spec.get("device", "cpu")]
    return (stage, name, *(json.dumps(p, sort_keys=True) for p in (encoder, settings, where)))


NOT_TIMED = ("iterations", "checkpoint_interval", "optim", "workers")


def _training(spec: RunSpec, stage: str) -> StageSettings | None:
    return getattr(spec.recipe, stage) if stage in TRAINING else None


def _stated(spec: RunSpec, stage: str) -> Need:
    variant = load_variant(spec.variant)
    training = _training(spec, stage)
    if training is not None:
        return _stated_training(spec, stage, training, variant)
    pixels = float(spec.cost.input[0] * spec.cost.input[1])
    gmacs = _overhead(variant, spec.encoder.name) * gmacs_per_frame(spec.encoder, pixels)
    memory = 2 * _weights_gib(spec) + _activations_gib(spec.encoder, pixels, 1) / 8 + 1
    if stage == "cost":
        hours = COST_HOURS["cpu" if spec.cost.device == "cpu" else "cuda"]
        return Need(hours, memory, False, f"estimate: {hours:g} h for any model")
    frames = test_frames(spec)
    if spec.device == "cpu":
        fps = CPU_THROUGHPUT * max(1, spec.threads) / (2e9 * gmacs)
    else:
        fps = EVALUATION_FPS
    text = f"estimate: {frames:,} frames at {fps:.0f} per second"
    return Need(frames / fps / SECONDS_PER_HOUR, memory, False, text)


def _stated_training(spec: RunSpec, stage: str, training: StageSettings, variant: Variant) -> Need:
    settings = training.train
    pixels = training_pixels(spec, training)
    gmacs = _overhead(variant, spec.encoder.name) * gmacs_per_frame(spec.encoder, pixels)
    frozen = stage == "refine" or (stage == "video" and "segmenter" in variant.frozen)
    passes = 1 if frozen else 3
    frames = settings.iterations * settings.batch * training.frames
    if spec.device == "cpu":
        rate, unit = CPU_THROUGHPUT * max(1, spec.threads), "in one process"
    else:
        rate, unit = THROUGHPUT[settings.precision], "per GPU"
    clips = min(settings.per_device or settings.batch, settings.batch)
    activations = _activations_gib(spec.encoder, pixels, clips * training.frames)
    activations *= (0.3 if frozen else 1.0) * (2.0 if settings.precision == "fp32" else 1.0)
    text = (
        f"estimate: {gmacs:.3g} GMACs per frame, {passes} forward pass{'es' * (passes > 1)} each, "
        f"{rate / 1e12:g} TFLOP/s {unit}"
    )
    hours = frames * passes * 2e9 * gmacs / rate / SECONDS_PER_HOUR
    return Need(hours, 1.5 * (4 * _weights_gib(spec) + activations) + 1, False, text)


def training_pixels(spec: RunSpec, training: StageSettings) -> float:
    """The mean pixels of a training frame, for sources of 16:9."""
    augmentation = training.augmentation
    if augmentation.short_sides:
        longest = augmentation.max_size
        sizes = [
            (min(s, longest * 9 / 16), min(s * 16 / 9, longest)) for s in augmentation.short_sides
        ]
        return sum(short * long for short, long in sizes) / len(sizes)
    if spec.dataset.generate:
        return float(spec.dataset.generate[0].height * spec.dataset.generate[0].width)
    return float(spec.cost.source[0] * spec.cost.source[1])


def test_frames(spec: RunSpec) -> int:
    """About how many frames the test split has."""
    dataset = spec.dataset
    for settings in dataset.generate:
        if settings.split == dataset.test_split:
            return settings.videos * settings.frames
    return TEST_FRAMES.get(dataset.layout, 10_000)


def _overhead(variant: Variant, encoder: str) -> float:
    """Operations of a system relative to EoMT's, as printed in VidEoMT's Tab. 1 (838, 699, 566).

    On a pyramid they are counted with the decoders.
    """
    slots = variant.slots()
    if not slots["segmenter"].startswith("EoMT"):
        return 1.0 if is_pyramid(encoder) else 1.5
    return 1.0 if slots["tracker"] == "QueryIndex" else 1.25


def _width_and_depth(encoder: EncoderSpec) -> tuple[int, int]:
    if arguments := SMALL_ENCODERS.get(encoder.name):
        return arguments["embed_dim"], arguments["depth"]
    for word, size in WIDTHS.items():
        if f"_{word}_" in encoder.name:
            return size
    with torch.device("meta"):
        vit = build_encoder(EncoderSpec(encoder.name, encoder.image_size, encoder.patch_size)).vit
    return vit.embed_dim, len(vit.blocks)


def _weights_gib(spec: RunSpec) -> float:
    """Single-precision weights, heads included."""
    if is_pyramid(spec.encoder.name):
        return pyramid_work(spec.encoder.name).parameters * 4 / GIB
    width, depth = _width_and_depth(spec.encoder)
    return (12 * width**2 * depth + 12 * width**2) * 4 / GIB


def _activations_gib(encoder: EncoderSpec, pixels: float, frames: int) -> float:
    """What training holds of a clip in half precision: 34 bytes per token, layer and channel
    (Korthikanti et al., 2022, without attention maps), and the features at stride 4, eight times.
    Of Mask2Former on a pyramid it is what its modules put out.
    """
    if is_pyramid(encoder.name):
        return frames * pixels * pyramid_work(encoder.name).activations * 2 / GIB
    width, depth = _width_and_depth(encoder)
    tokens = frames * pixels / encoder.patch_size**2
    return tokens * width * (34 * depth + 16 * 16) / GIB
