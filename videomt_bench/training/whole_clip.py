"""A clip as one image: its frames below each other, and each object once (DVIS; DVIS++, arXiv
2312.13305, whose refiner gives a track one class and masks in all frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models.contracts import ClipOutput, ClipPrediction
from videomt_bench.training.layers import LossSettings


def as_one_image(output: ClipOutput) -> ClipOutput:
    """B clips of T frames -> B clips of one frame, T times as high.

    Classes are means over frames. What single frames alone have, such as references, is left out.
    """
    return ClipOutput(
        *_stacked(output),
        queries=output.queries[:, :1],
        embeddings=output.embeddings[:, :1],
        intermediate=tuple(ClipPrediction(*_stacked(layer)) for layer in output.intermediate),
        order=None if output.order is None else output.order[:, :1],
        source=None if output.source is None else as_one_image(output.source),
    )


def targets_of_one_image(targets: Sequence[ClipTargets]) -> list[ClipTargets]:
    """The targets of clips for ``as_one_image``: every object is there once."""
    return [
        ClipTargets(t.labels, t.masks.flatten(1, 2)[:, None], t.present.any(1, keepdim=True))
        for t in targets
    ]


def settings_of_one_image(settings: LossSettings, frames: int) -> LossSettings:
    """As many sampled points for a frame as before."""
    return replace(settings, num_points=settings.num_points * frames)


def _stacked(prediction: ClipPrediction) -> tuple[Tensor, Tensor]:
    classes = prediction.class_logits.mean(1, keepdim=True)
    return classes, prediction.mask_logits.transpose(1, 2).flatten(2, 3)[:, None]
