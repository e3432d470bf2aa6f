"""Mask2Former's losses on frames that have queries of any number (DVIS-DAQ, arXiv 2404.00086).

Symbols: L layers, R rows of a frame, C classes, h × w mask logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models.contracts import Prediction
from videomt_bench.training.identity_losses import unlearned
from videomt_bench.training.layers import LayerPredictions, LossSettings, Points
from videomt_bench.training.losses import Pairs, mask_losses


@dataclass(frozen=True)
class Supervised:
    """One frame of a clip, and what its rows learn."""

    layers: Sequence[Prediction]
    """Of L layers, the first axis of length 1."""
    owner: Tensor
    """The object (R,) of each row, -1 for none."""
    shown: Tensor
    """Bool (R,): whether the object of the row is there; if not, the row learns no-object."""
    target: ClipTargets
    """Of the frame."""


def frame_losses(
    frames: Sequence[Supervised], settings: LossSettings, points: Points
) -> dict[str, Tensor]:
    """Weighted losses ``class``, ``mask`` and ``dice`` of the frames of one clip, over all layers.

    The class loss is a mean over the rows of all frames. Those of masks are divided by the number
    of rows that have an object, whether it is there or not.
    """
    with torch.autocast(frames[0].layers[0].mask_logits.device.type, enabled=False):
        owned = sum(int((frame.owner >= 0).sum()) for frame in frames)
        mask, dice = _mask_losses(frames, settings, points)
        return {
            "class": settings.class_weight * _class_loss(frames, settings),
            "mask": settings.mask_weight * mask / max(owned, 1),
            "dice": settings.dice_weight * dice / max(owned, 1),
        }


def _class_loss(frames: Sequence[Supervised], settings: LossSettings) -> Tensor:
    """Cross-entropy, no-object weighted down; a weighted mean in each layer."""
    logits = torch.cat(
        [torch.stack([p.class_logits[0] for p in frame.layers]).float() for frame in frames], 1
    )
    depth, _, classes = logits.shape
    labels = []
    for frame in frames:
        void = torch.full_like(frame.owner, classes - 1)
        void[frame.shown] = frame.target.labels.cpu()[frame.owner[frame.shown]]
        labels.append(void)
    weight = logits.new_ones(classes)
    weight[-1] = settings.no_object_weight
    label = torch.cat(labels).to(logits.device)
    # every layer has the same labels, so means of layers have one divisor
    return depth * cross_entropy(logits.flatten(0, 1), label.repeat(depth), weight)


def _mask_losses(
    frames: Sequence[Supervised], settings: LossSettings, points: Points
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and Dice, summed over layers and over the objects that are there."""
    depth = len(frames[0].layers)
    logits = tuple(
        torch.cat([f.layers[i].mask_logits[:, f.shown] for f in frames], 1)[None].float()
        for i in range(depth)
    )
    masks = torch.cat([f.target.masks[f.owner[f.shown], 0] for f in frames])
    if not len(masks):
        nothing = sum(unlearned(p.mask_logits) for f in frames for p in f.layers)
        assert isinstance(nothing, Tensor)
        return nothing, nothing
    zeros = torch.zeros(len(masks), dtype=torch.long, device=masks.device)
    rows = torch.arange(len(masks), device=masks.device)
    pairs = Pairs(zeros, zeros, rows.expand(depth, -1), zeros, masks, [len(masks)])
    layers = LayerPredictions(torch.zeros(0, device=masks.device), logits)
    return mask_losses(layers, pairs, settings, points)
