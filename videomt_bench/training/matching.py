"""Which query learns which object: first-appearance matching of clips, and per-frame matching.

First appearance (VidEoMT, arXiv 2602.17807; CAVIS): an object is matched once, in the first frame
in which it is visible, to a query that no earlier object holds, and keeps that query in every frame
of the clip, before and after as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import softplus

from videomt_bench.data.clips import ClipTargets
from videomt_bench.errors import unknown
from videomt_bench.models.contracts import ClipOutput, ClipPrediction
from videomt_bench.models.variant import Matching
from videomt_bench.training.layers import (
    ONE_STREAM,
    LayerPredictions,
    LossSettings,
    Points,
    sample_points,
)

BLOCKED = 1e6
"""Cost of a query that already holds an object."""
POINT_BUDGET = {"cpu": 2**22, "cuda": 2**26}
"""Sampled logits held at once, by device; maps are taken in turn beyond it. A CPU gets memory of
this size again and again, and larger pieces from the system each time."""


@torch.no_grad()
def match(
    layers: LayerPredictions,
    targets: Sequence[ClipTargets],
    matching: Matching,
    settings: LossSettings,
    points: Points = ONE_STREAM,
    held: Sequence[Tensor] = (),
) -> list[Tensor]:
    """For each clip the query (L, N, T) of every object and frame, -1 where there is none.

    ``held`` are the queries (L, M) that the first M objects of each clip keep from frames before;
    first-appearance matching alone has them. A whole clip is matched as its one frame.
    """
    if matching not in get_args(Matching):
        raise unknown("matching", matching, get_args(Matching))
    first = matching == "first_appearance"
    old = [queries.shape[1] for queries in held] if first and held else [0] * len(targets)
    columns = [
        _first_columns(t.present, n) if first else _frame_columns(t.present)
        for t, n in zip(targets, old, strict=True)
    ]
    frames = [(b, t) for b, clip in enumerate(columns) for t in clip]
    costs = dict(zip(frames, object_costs(layers, targets, frames, settings, points), strict=True))
    assign = _assign_first if first else _assign_frames
    depth, _, length, queries = layers.class_logits.shape[:4]
    result = []
    for b, clip in enumerate(columns):
        shape = (depth, len(targets[b].labels), length)
        found = np.full(shape, -1, dtype=np.int64)
        if old[b]:
            found[:, : old[b]] = held[b].numpy()[..., None]
        for layer in range(depth):
            assign(found[layer], {t: (costs[b, t][layer], o) for t, o in clip.items()}, queries)
        result.append(torch.from_numpy(found))
    return result


@torch.no_grad()
def match_guided(
    output: ClipOutput,
    targets: Sequence[ClipTargets],
    matching: Matching,
    settings: LossSettings,
    points: Points = ONE_STREAM,
    held: Sequence[Tensor] = (),
) -> list[Tensor]:
    """As ``match``, by the segmenter's final predictions in the tracker's order (CAVIS; DVIS++).

    All layers of ``output``, which has a source and an order, get the same queries.
    """
    source, order = output.source, output.order
    if source is None or order is None:
        raise ValueError("an output without a source and an order guides nothing")

    def take(x: Tensor) -> Tensor:
        index = order.reshape(*order.shape, *[1] * (x.dim() - 3))
        return x.gather(2, index.expand(*order.shape, *x.shape[3:]))

    slots = ClipPrediction(take(source.class_logits), take(source.mask_logits))
    held = [queries[:1] for queries in held]
    found = match(LayerPredictions.stack([slots]), targets, matching, settings, points, held)
    kept = output.intermediate if settings.last_intermediate else output.intermediate[:-1]
    depth = 1 + len(kept)
    return [queries.expand(depth, -1, -1) for queries in found]


def everywhere(targets: Sequence[ClipTargets]) -> list[ClipTargets]:
    """The same targets, all objects counted as present in all frames."""
    return [replace(t, present=torch.ones_like(t.present)) for t in targets]


def _first_columns(present: Tensor, old: int) -> dict[int, np.ndarray]:
    """Frame -> the objects after ``old`` ones that are first visible in it, in frame order."""
    first = present[old:].int().argmax(1).cpu().numpy()
    return {int(t): np.flatnonzero(first == t) + old for t in np.unique(first)}


def _frame_columns(present: Tensor) -> dict[int, np.ndarray]:
    """Frame -> the objects visible in it."""
    seen = present.cpu().numpy()
    return {t: np.flatnonzero(seen[:, t]) for t in range(seen.shape[1]) if seen[:, t].any()}


def _assign_first(
    found: np.ndarray, frames: dict[int, tuple[np.ndarray, np.ndarray]], queries: int
) -> None:
    used = list(found[found[:, 0] >= 0, 0])
    for cost, objects in frames.values():
        cost = cost[:, objects].copy()
        cost[used] = BLOCKED
        rows, picked = linear_sum_assignment(cost)
        free = ~np.isin(rows, used)
        found[objects[picked[free]]] = rows[free, None]
        used.extend(rows[free])


def _assign_frames(
    found: np.ndarray, frames: dict[int, tuple[np.ndarray, np.ndarray]], queries: int
) -> None:
    for t, (cost, objects) in frames.items():
        rows, picked = linear_sum_assignment(cost[:, objects])
        found[objects[picked], t] = rows


def object_costs(
    layers: LayerPredictions,
    targets: Sequence[ClipTargets],
    frames: list[tuple[int, int]],
    settings: LossSettings,
    points: Points,
) -> list[np.ndarray]:
    """The cost (L, Q, N) of every query for every object, in each of the frames (clip, t)."""
    if not frames:
        return []
    device = layers.class_logits.device
    b, t = (torch.tensor(x, device=device) for x in zip(*frames, strict=True))
    most = max(len(targets[i].labels) for i, _ in frames)
    size = targets[0].masks.shape[-2:]
    masks = torch.zeros(len(frames), most, *size, device=device)
    labels = torch.zeros(len(frames), most, dtype=torch.long, device=device)
    for f, (i, frame) in enumerate(frames):
        count = len(targets[i].labels)
        masks[f, :count] = targets[i].masks[:, frame].float()
        labels[f, :count] = targets[i].labels
    rows = [sum(i == clip for i, _ in frames) for clip in range(len(targets))]
    at = points.draw(rows, settings.num_points, device)
    truth = sample_points(masks, at)
    classes = layers.class_logits[:, b, t].flatten(0, 1)
    logits = torch.stack([masks[b, t] for masks in layers.mask_logits]).flatten(0, 1)
    order = torch.arange(len(frames), device=device).repeat(len(layers.mask_logits))
    budget = POINT_BUDGET["cpu" if device.type == "cpu" else "cuda"]
    step = max(1, budget // (logits.shape[1] * settings.num_points))
    parts = [
        _map_costs(c, x, truth[f], labels[f], at[f], settings)
        for c, x, f in zip(classes.split(step), logits.split(step), order.split(step), strict=True)
    ]
    found = torch.cat(parts).nan_to_num(BLOCKED, BLOCKED, -BLOCKED).cpu().numpy()
    cost = found.reshape(-1, len(frames), *found.shape[1:])
    return [cost[:, f, :, : len(targets[i].labels)] for f, (i, _) in enumerate(frames)]


def _map_costs(
    classes: Tensor,
    logits: Tensor,
    truth: Tensor,
    labels: Tensor,
    points: Tensor,
    settings: LossSettings,
) -> Tensor:
    """Costs (M, Q, N) of M frames of any layers.

    Args:
        classes: class logits (M, Q, C+1).
        logits: mask logits (M, Q, h, w).
        truth: masks of the objects at the points (M, N, P).
        labels: of the objects (M, N).
        points: (M, P, 2).
        settings: weights.
    """
    x, y = sample_points(logits, points), truth.transpose(1, 2)
    cross_entropy = (softplus(x).sum(-1, keepdim=True) - x @ y) / x.shape[-1]
    p = x.sigmoid_()
    dice = 1 - (2 * (p @ y) + 1) / (p.sum(-1, keepdim=True) + y.sum(1, keepdim=True) + 1)
    likelihood = classes.softmax(-1).gather(2, labels[:, None].expand(-1, classes.shape[1], -1))
    return (
        settings.mask_weight * cross_entropy
        + settings.dice_weight * dice
        - settings.class_weight * likelihood
    )
