"""Weights into a model, all of them or with a list of what is amiss."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models import (
    LearnedQueries,
    SlotSizes,
    VideoSegmenter,
    ViTEncoder,
    load_variant,
)
from videomt_bench.weights.encoders import encoder_alone, encoder_tensors
from videomt_bench.weights.family import ADAPTED_ENCODER, ENCODER
from videomt_bench.weights.identify import (
    ENCODER_ALONE,
    Weights,
    WeightsInfo,
    open_weights,
    vit_tensors,
)
from videomt_bench.weights.matching import MatchReport, match
from videomt_bench.weights.reading import read_weights
from videomt_bench.weights.rules import State

NO_BASE = "none"
"""For ``base``: the file holds the weights themselves, and no differences."""


def inspect_weights(path: Path | str) -> WeightsInfo:
    """What a file of weights is; no value in it is looked at.

    Raises:
        BenchError: it cannot be read, or is of no known family.
    """
    return open_weights(path).info


def load_weights(
    path: Path | str,
    model: VideoSegmenter,
    allow: Sequence[str] = (),
    base: Path | str | None = None,
) -> MatchReport:
    """Fill a model from a file of any known family.

    Args:
        path: see ``read_weights``.
        model: of any variant.
        allow: parts, such as "class_head", or beginnings of the model's names, that may be
            missing, surplus or of another shape. They keep what they are.
        base: for differences, the pre-trained encoder to add them to; "none" if there are none.

    Raises:
        BenchError: the file cannot be read, holds values that are no numbers, or does not fit in
            anything but what is allowed.
    """
    weights = with_base(open_weights(path), base)
    return fill(model, weights, allow)


def fill(model: VideoSegmenter, weights: Weights, allow: Sequence[str] = ()) -> MatchReport:
    """Fill a model with weights; see ``load_weights``."""
    weights, report = fitted(model, weights)
    if not report.matched or not report.allowed(allow):
        raise BenchError(f"weights of {weights.source!r} do not fit the model: {report}")
    check_numbers(weights, report.matched)
    for note in report.notes:
        warnings.warn(f"weights of {weights.source!r}: {note}", stacklevel=3)
    model.load_state_dict({k: weights.state[k] for k in report.matched}, strict=False)
    return report


def fitted(model: VideoSegmenter, weights: Weights) -> tuple[Weights, MatchReport]:
    """Weights in the sizes of a model's encoder, and how they go together with the model.

    Raises:
        BenchError: their encoder cannot be read.
    """
    encoders = [(n, m) for n, m in model.named_modules() if isinstance(m, ViTEncoder)]
    found = vit_tensors(weights.state)
    if not (encoders and found):
        return weights, match(model.state_dict(), weights.renamed)
    (name, encoder), *_ = encoders
    prefix = f"{name}.vit."
    resized = encoder_tensors(encoder, found, weights.source)
    rest = {k: v for k, v in weights.state.items() if not k.startswith((ENCODER, ADAPTED_ENCODER))}
    if not hasattr(encoder.norm, "weight") and weights.family is ENCODER_ALONE:
        resized = {k: v for k, v in resized.items() if not k.startswith("norm.")}
    weights = weights.with_state({prefix + k: v for k, v in resized.items()} | rest)
    notes = [
        f"{k} resampled from {_sides(found[k])} to {_sides(resized[k])}"
        for k in ("pos_embed", "patch_embed.proj.weight")
        if k in found and k in resized and found[k].shape != resized[k].shape
    ]
    return weights, match(model.state_dict(), weights.renamed, notes)


def build_model(info: WeightsInfo) -> VideoSegmenter:
    """The model that a file fills, with random weights: of its variant, or of its segmenter stage.

    Raises:
        BenchError: it is not built here, or the file does not say which it is.
    """
    spec = info.spec()
    if info.variant is not None:
        return load_variant(info.variant).build(spec)
    if info.segmenter_of is None:
        raise BenchError(
            f"weights of the family {info.family!r} do not say which variant they fill; name it"
        )
    variant = load_variant(info.segmenter_of)
    model = variant.build(spec)
    sizes = SlotSizes(spec.num_queries, model.segmenter.dim, spec.num_classes, spec.sizes)
    part = model.tracker.image_stage() if variant.joint_stage else None
    return VideoSegmenter(model.segmenter, LearnedQueries(sizes), part)


def with_base(weights: Weights, base: Path | str | None) -> Weights:
    """Add differences to the pre-trained encoder that they were taken from.

    Raises:
        BenchError: there is no base and one is needed, or the other way round, or it is of another
            encoder.
    """
    if not weights.family.delta:
        if base not in (None, NO_BASE):
            raise BenchError(
                f"weights of {weights.source!r} are no differences, so there is nothing to add "
                f"{str(base)!r} to"
            )
        return weights
    if base is None:
        raise BenchError(
            f"weights of {weights.source!r} are differences from the pre-trained DINOv3; name "
            "the file of the latter as the base, or 'none' if they are not"
        )
    if base == NO_BASE:
        return weights
    alone = encoder_alone(read_weights(base), str(base))
    pretrained, own = alone.state, vit_tensors(weights.state)
    if {k: v.shape for k, v in pretrained.items()} != {k: v.shape for k, v in own.items()}:
        raise BenchError(
            f"the base {str(base)!r} is {alone.found.name}, but {weights.source!r} "
            f"holds differences from {weights.info.encoder}"
        )
    summed: State = {ENCODER + k: v + pretrained[k] for k, v in own.items()}
    return weights.with_state(weights.state | summed)


def check_numbers(weights: Weights, names: Iterable[str]) -> None:
    """Check that tensors are made of finite real numbers.

    Raises:
        BenchError: one is not.
    """
    for name in names:
        value: Tensor = weights.state[name]
        if value.is_meta:
            continue
        if value.is_complex() or not (value.is_floating_point() or name.endswith("_tracked")):
            raise BenchError(
                f"{name} of {weights.source!r} is of type {value.dtype}; valid are real numbers"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BenchError(f"{name} of {weights.source!r} has values that are no numbers")


def _sides(value: Tensor) -> str:
    return "×".join(map(str, value.shape))
