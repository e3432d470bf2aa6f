"""Two files of weights, two models, one random clip: are the outputs the same?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.weights.converting import port_config
from videomt_bench.weights.identify import Weights, WeightsInfo, open_weights
from videomt_bench.weights.loading import build_model, fill, with_base
from videomt_bench.weights.reading import read_weights, weight_file

TOLERANCE = 1e-4
LARGEST_SIDE = 256
"""Of the clip in pixels, where no model has a fixed one."""


@dataclass(frozen=True)
class Difference:
    """The largest differences between two models' outputs."""

    class_logits: float
    mask_logits: float
    clip: tuple[int, ...]
    """Its shape (1, T, 3, H, W)."""
    models: tuple[str, str]
    """What ran."""

    @property
    def passed(self) -> bool:
        """Whether both are at most 1e-4."""
        return self.class_logits <= TOLERANCE and self.mask_logits <= TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values."""
        return asdict(self) | {"tolerance": TOLERANCE, "passed": self.passed}


def check_weights(
    path: Path | str,
    against: Path | str,
    variant: str | None = None,
    base: Path | str | None = None,
    frames: int = 2,
) -> Difference:
    """Compare the outputs of two files' models over a random clip, on the CPU in float32.

    A file of transformers runs in the model of transformers, with the ``config.json`` beside it if
    there is one; any other runs in ours.

    Args:
        path, against: see ``read_weights``.
        variant: that of files which do not say it.
        base: for those of the two that are differences; see ``load_weights``.
        frames: T.

    Raises:
        BenchError: a file cannot be read or fits no model, or the two have other outputs.
    """
    both = [open_weights(path), open_weights(against)]
    both = [with_base(w, base if w.family.delta else None) for w in both]
    sizes = [(w.info.num_classes, w.info.num_queries) for w in both]
    if sizes[0] != sizes[1]:
        raise BenchError(
            f"{path} has {sizes[0][0]} classes and {sizes[0][1]} queries, {against} has "
            f"{sizes[1][0]} and {sizes[1][1]}; their outputs cannot be compared"
        )
    known = [w.info for w in both if w.info.variant or w.info.segmenter_of]
    runners = [
        _port(w, Path(file)) if w.family.port else _ours(w, _named(w.info, known, variant))
        for w, file in zip(both, (path, against), strict=True)
    ]
    clip = _clip(runners, min(both[0].info.image_size or LARGEST_SIDE, LARGEST_SIDE), frames)
    with torch.no_grad():
        outputs = [runner.run(clip) for runner in runners]
    classes, masks = (float((a - b).abs().max()) for a, b in zip(*outputs, strict=True))
    return Difference(classes, masks, tuple(clip.shape), (runners[0].name, runners[1].name))


@dataclass(frozen=True)
class Runner:
    """A model that is ready to run."""

    name: str
    side: int | None
    """Of the only images that it takes, in pixels; None: any."""
    run: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Clip -> class logits (T, Q, C + 1) and mask logits (T, Q, h, w)."""


def _clip(runners: list[Runner], side: int, frames: int) -> Tensor:
    """A clip (1, T, 3, H, W), of the one size that a model of transformers takes, if any."""
    fixed = {r.side for r in runners if r.side is not None}
    if len(fixed) > 1:
        raise BenchError(f"the two models take images of {' and '.join(map(str, fixed))} pixels")
    side = fixed.pop() if fixed else max(side // 32, 1) * 32
    return torch.randn(1, frames, 3, side, side, generator=torch.Generator().manual_seed(0))


def _named(info: WeightsInfo, known: list[WeightsInfo], variant: str | None) -> WeightsInfo:
    """With the variant that the user names, or else that of the other file, if it says none; and
    with the other file's positions."""
    if info.variant or info.segmenter_of or not (variant or known):
        return info
    if known:
        info = replace(info, positions=known[0].positions)
    if variant is not None:
        return replace(info, variant=variant)
    return replace(info, variant=known[0].variant, segmenter_of=known[0].segmenter_of)


def _ours(weights: Weights, info: WeightsInfo) -> Runner:
    model = build_model(info).eval()
    fill(model, weights)

    def run(clip: Tensor) -> tuple[Tensor, Tensor]:
        output, _ = model(clip)
        return output.class_logits[0], output.mask_logits[0]

    return Runner("ours", None, run)


def _port(weights: Weights, file: Path) -> Runner:
    """The model of transformers, which takes a video or frames."""
    model = _empty_port(weights, file).eval()
    try:
        model.load_state_dict(read_weights(file))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BenchError(f"weights {weights.source!r} do not fit transformers: {reason}") from None
    video = model.main_input_name == "pixel_values_videos"

    def run(clip: Tensor) -> tuple[Tensor, Tensor]:
        output = model(clip if video else clip[0])
        return output.class_queries_logits, output.masks_queries_logits

    return Runner(type(model).__name__, model.config.image_size, run)


def _empty_port(weights: Weights, file: Path) -> Any:
    """The model of transformers with random weights, by the configuration beside a file."""
    try:
        import transformers
    except ImportError:
        raise BenchError(
            "to check weights of transformers, install it: pip install transformers"
        ) from None
    assert weights.family.port is not None
    model = getattr(transformers, weights.family.port)
    beside = weight_file(file).with_name("config.json")
    try:
        config = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        values = config or port_config(weights.info, weights.state, weights.family.port_kind)
        return model(model.config_class.from_dict(values))
    except Exception as error:  # a wrong configuration fails in many ways
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise BenchError(f"the configuration {str(beside)!r} gives no model: {reason}") from None
