"""Which query of a varying set learns which object (DVIS-DAQ, arXiv 2404.00086).

Every frame is matched by itself: an object that a track has stays with it for ever; one that is
there and that no track has goes to one of the queries that look for new objects.

Symbols: Q queries of the segmenter, n tracks, R = n + Q rows, N objects, h × w mask logits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models.contracts import ClipPrediction, Prediction
from videomt_bench.models.daq import foreground
from videomt_bench.training.layers import LayerPredictions, LossSettings, Points
from videomt_bench.training.matching import BLOCKED, object_costs


class Segmented(NamedTuple):
    """How the segmenter's queries of a frame go with the objects in it."""

    owner: Tensor
    """The object (Q,) of each query, one to one, -1 for none."""
    nearest: Tensor
    """The object (Q,) that each query with an owner or a score shows most likely, -1 for others."""


@torch.no_grad()
def match_segments(
    prediction: Prediction,
    target: ClipTargets,
    settings: LossSettings,
    points: Points,
    score: float,
) -> Segmented:
    """Match the segmenter's prediction of one frame to the objects that are visible in it.

    Args:
        prediction: of Q queries, the first axis of length 1.
        target: of one frame.
        settings: weights of the costs.
        points: where random points come from.
        score: probability of a class above which a query shows some object.
    """
    visible = target.present[:, 0].cpu()
    owner = torch.full((prediction.class_logits.shape[1],), -1, dtype=torch.long)
    if not bool(visible.any()):
        return Segmented(owner, owner.clone())
    cost = _costs(prediction, target, settings, points)
    _assign(cost, visible.nonzero()[:, 0], torch.arange(len(cost)), owner)
    shows = (owner >= 0) | (foreground(prediction.class_logits)[0].cpu() > score)
    likeliest = cost.masked_fill(~visible, BLOCKED).argmin(1)
    return Segmented(owner, likeliest.where(shows, -1))


@torch.no_grad()
def match_new(
    prediction: Prediction,
    target: ClipTargets,
    owner: Tensor,
    settings: LossSettings,
    points: Points,
) -> Tensor:
    """The object (R,) of each row, -1 for none.

    Args:
        prediction: of R rows, the first axis of length 1; those of tracks come first.
        target: of one frame.
        owner: the objects (n,) that the tracks have.
        settings: weights of the costs.
        points: where random points come from.
    """
    rows = prediction.class_logits.shape[1]
    found = torch.full((rows,), -1, dtype=torch.long)
    found[: len(owner)] = owner
    free = target.present[:, 0].cpu().clone()
    free[owner[owner >= 0]] = False
    if not bool(free.any()):
        return found
    cost = _costs(prediction, target, settings, points)
    _assign(cost, free.nonzero()[:, 0], torch.arange(len(owner), rows), found)
    return found


def _assign(cost: Tensor, objects: Tensor, rows: Tensor, owner: Tensor) -> None:
    """Give some objects to some rows, in place."""
    picked, columns = linear_sum_assignment(cost[rows][:, objects].numpy())
    owner[rows[torch.from_numpy(picked)]] = objects[torch.from_numpy(columns)]


def _costs(
    prediction: Prediction, target: ClipTargets, settings: LossSettings, points: Points
) -> Tensor:
    """The cost (R, N) of every row for every object, on the CPU."""
    frame = ClipPrediction(prediction.class_logits[:, None], prediction.mask_logits[:, None])
    with torch.autocast(frame.mask_logits.device.type, enabled=False):
        layers = LayerPredictions.stack([frame])
        (cost,) = object_costs(layers, [target], [(0, 0)], settings, points)
    return torch.from_numpy(cost[0])
