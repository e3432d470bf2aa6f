"""Mask2Former's losses (Cheng et al., CVPR 2022) on all layers and frames of a batch of clips.

Class targets of a matched object hold in every frame of the clip, also where it is absent; there
its mask target is empty (first-appearance matching). Per-frame matching has no such frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models.contracts import ClipOutput
from videomt_bench.models.variant import Matching
from videomt_bench.training.class_memory import ClassMemory
from videomt_bench.training.identity_losses import (
    Terms,
    identity_loss,
    prototype_loss,
    reference_loss,
    refined_loss,
    unlearned,
)
from videomt_bench.training.layers import (
    ONE_STREAM,
    LayerPredictions,
    LossSettings,
    Points,
    sample_points,
)
from videomt_bench.training.matching import everywhere, match, match_guided
from videomt_bench.training.tracklet_loss import tracklet_loss
from videomt_bench.training.truncation import Carried
from videomt_bench.training.whole_clip import (
    as_one_image,
    settings_of_one_image,
    targets_of_one_image,
)

Totals = Mapping[Matching, float]
"""Targets of a whole batch, by matching, over the number of micro-batches that share it."""


@dataclass
class Pairs:
    """Matched (object, frame) targets of a batch, U of them, the same for every layer."""

    clip: Tensor
    """(U,) clip of the target."""
    frame: Tensor
    """(U,) frame of the target."""
    query: Tensor
    """(L, U) query that learns it, -1 where a layer has none to spare."""
    label: Tensor
    """(U,) class."""
    mask: Tensor
    """(U, H, W) bool."""
    rows: list[int]
    """How many of the targets each clip has."""


def clip_losses(
    output: ClipOutput,
    targets: Sequence[ClipTargets],
    matching: Matching,
    settings: LossSettings,
    guided: bool = False,
    totals: Totals | None = None,
    points: Points = ONE_STREAM,
    carried: Carried | None = None,
    memory: ClassMemory | None = None,
) -> dict[str, Tensor]:
    """Weighted losses of an output; the parts that learn decide which.

    Always ``loss_class``, ``loss_mask`` and ``loss_dice``, summed over the layers. Where a tracker
    predicts anew and the segmenter below it learns too, the segmenter's own predictions are
    matched frame by frame and give ``loss_segmenter_class``, ``_mask`` and ``_dice``. The VidEoMT
    paper (arXiv 2602.17807) does not say whether its EoMT + CAVIS steps have them; without them
    nothing would teach the segmenter's heads, whose masks and classes the context features and the
    guidance read, while the encoder moves. Where identities learn, ``loss_identity`` and
    ``loss_prototype``, where references do, ``loss_reference``, each with a ``_cosine`` term. With
    ``refined_weight`` whole clips also give ``loss_refined``.

    Args:
        output: of a training forward pass over B clips of T frames.
        targets: one per clip.
        matching: how objects find their queries.
        settings: weights and point sampling.
        guided: objects find a tracker's slots by the segmenter's predictions.
        totals: of the batch that the clips are a part of; the mean of the losses of all parts is
            then that of the whole. Contrastive terms stay means of the part. None: they are all.
        points: where random points come from.
        carried: what the chunk before knows of the objects; it is brought up to date.
        memory: what ``loss_refined`` remembers of earlier iterations; it is brought up to date.
    """
    embeddings = output.embeddings
    if matching == "whole_clip":
        settings = settings_of_one_image(settings, output.class_logits.shape[1])
        output, targets = as_one_image(output), targets_of_one_image(targets)
    held = [] if carried is None else carried.queries
    with torch.autocast(output.mask_logits.device.type, enabled=False):
        layers = LayerPredictions.of(output, settings.last_intermediate)
        if guided and output.source is not None:
            queries = match_guided(output, targets, matching, settings, points, held)
        else:
            queries = match(layers, targets, matching, settings, points, held)
        if carried is not None:
            carried.queries = [found[..., 0] for found in queries]
        losses = _layer_losses(layers, targets, queries, matching, settings, totals, points)
        return {
            **{f"loss_{name}": value for name, value in losses.items()},
            **_segmenter_losses(output, targets, queries, matching, settings, totals, points),
            **_reference_losses(output, queries, settings),
            **_refined_losses(embeddings, targets, queries, matching, settings, memory),
        }


def _layer_losses(
    layers: LayerPredictions,
    targets: Sequence[ClipTargets],
    queries: Sequence[Tensor],
    matching: Matching,
    settings: LossSettings,
    totals: Totals | None,
    points: Points,
) -> dict[str, Tensor]:
    """Mask2Former's losses ``class``, ``mask`` and ``dice`` of matched layers."""
    pairs = _pairs(targets, queries)
    total = None if totals is None else totals[matching]
    count = _num_masks(targets, matching).clamp(min=1)
    if total is not None:
        count = torch.full_like(count, total or 1.0)
    mask, dice = mask_losses(layers, pairs, settings, points)
    return {
        "class": settings.class_weight * _class_loss(layers, pairs, settings, total),
        "mask": settings.mask_weight * mask / count,
        "dice": settings.dice_weight * dice / count,
    }


def _segmenter_losses(
    output: ClipOutput,
    targets: Sequence[ClipTargets],
    queries: Sequence[Tensor],
    matching: Matching,
    settings: LossSettings,
    totals: Totals | None,
    points: Points,
) -> dict[str, Tensor]:
    """What a segmenter below a tracker learns, its identities included; matched once for both."""
    source = output if output.source is None else output.source
    joint = source is not output and _learns(source.class_logits, source.mask_logits)
    identified = _learns(output.identity)
    if not (joint or identified):
        return {}
    losses = {}
    if joint:
        layers = LayerPredictions.of(source, settings.last_intermediate)
        queries = match(layers, targets, "per_frame", settings, points)
        own = _layer_losses(layers, targets, queries, "per_frame", settings, totals, points)
        losses = {f"loss_segmenter_{name}": value for name, value in own.items()}
    elif source is not output or matching != "per_frame":
        layers = LayerPredictions.stack([source])
        queries = match(layers, targets, "per_frame", settings, points)
    if identified:
        losses |= _identity_losses(output, source, targets, queries, settings, points)
    return losses


def _identity_losses(
    output: ClipOutput,
    source: ClipOutput,
    targets: Sequence[ClipTargets],
    queries: Sequence[Tensor],
    settings: LossSettings,
    points: Points,
) -> dict[str, Tensor]:
    identity, features = output.identity, output.mask_features
    assert identity is not None
    weights = settings.identity_weight, settings.identity_cosine_weight
    if settings.pseudo_identity:
        layers = LayerPredictions.stack([source])
        queries = match(layers, everywhere(targets), "per_frame", settings, points)
    final = [query[-1] for query in queries]
    loss = tracklet_loss if settings.tracklets else identity_loss
    losses = _terms("identity", weights, identity, partial(loss, identity, targets, final))
    if features is not None and features.requires_grad:
        weights = settings.prototype_weight, settings.prototype_cosine_weight
        terms = partial(prototype_loss, features, targets)
        losses |= _terms("prototype", weights, features, terms)
    return losses


def _reference_losses(
    output: ClipOutput, queries: Sequence[Tensor], settings: LossSettings
) -> dict[str, Tensor]:
    reference = output.reference
    if reference is None or not reference.requires_grad:
        return {}
    weights = settings.reference_weight, settings.reference_cosine_weight
    slots = [query[-1] for query in queries]
    terms = partial(reference_loss, reference, slots, settings.first_reference)
    return _terms("reference", weights, reference, terms)


def _refined_losses(
    embeddings: Tensor,
    targets: Sequence[ClipTargets],
    queries: Sequence[Tensor],
    matching: Matching,
    settings: LossSettings,
    memory: ClassMemory | None,
) -> dict[str, Tensor]:
    if matching != "whole_clip" or not settings.refined_weight:
        return {}
    loss = refined_loss(embeddings, [query[-1] for query in queries], targets, memory)
    return {"loss_refined": settings.refined_weight * loss}


def _terms(
    name: str, weights: tuple[float, float], x: Tensor, terms: Callable[[], Terms]
) -> dict[str, Tensor]:
    """Weighted terms by name; without weights they are not computed."""
    main, cosine = terms() if any(weights) else (unlearned(x), unlearned(x))
    return {f"loss_{name}": weights[0] * main, f"loss_{name}_cosine": weights[1] * cosine}


def _learns(*tensors: Tensor | None) -> bool:
    return any(x is not None and x.requires_grad for x in tensors)


def _pairs(targets: Sequence[ClipTargets], queries: Sequence[Tensor]) -> Pairs:
    """Flatten the matching to the targets that any layer matched."""
    device = targets[0].masks.device
    parts = []
    for b, (target, query) in enumerate(zip(targets, queries, strict=True)):
        wanted = (query >= 0).any(0)
        objects, frames = wanted.nonzero(as_tuple=True)
        clip = torch.full_like(frames, b)
        on_device = objects.to(device), frames.to(device)
        masks = target.masks[on_device]
        labels = target.labels[on_device[0]]
        parts.append((clip.to(device), on_device[1], query[:, wanted].to(device), labels, masks))
    columns = [list(column) for column in zip(*parts, strict=True)]
    return Pairs(
        clip=torch.cat(columns[0]),
        frame=torch.cat(columns[1]),
        query=torch.cat(columns[2], 1),
        label=torch.cat(columns[3]),
        mask=torch.cat(columns[4]),
        rows=[len(clip) for clip in columns[0]],
    )


def _num_masks(targets: Sequence[ClipTargets], matching: Matching) -> Tensor:
    """Targets of all frames, also those that found no query; first appearance has absent ones."""
    everywhere = matching == "first_appearance"
    counts = [(torch.ones_like(t.present) if everywhere else t.present).sum() for t in targets]
    return torch.stack(counts).sum().float()


def _class_loss(
    layers: LayerPredictions, pairs: Pairs, settings: LossSettings, total: float | None
) -> Tensor:
    """Cross-entropy over all queries, no-object weighted down; a weighted mean in each layer.

    With ``total``, the objects of this many targets count in the sum of weights instead of those
    that the part has; an object that finds no query is among them.
    """
    logits = layers.class_logits
    classes = logits.shape[-1]
    target = torch.full(logits.shape[:-1], classes - 1, device=logits.device)
    layer, pair = (pairs.query >= 0).nonzero(as_tuple=True)
    query = pairs.query[layer, pair]
    # a label beyond the classes occurs with the label quirk only; see TrainClips
    label = pairs.label.clamp(max=classes - 1 if settings.absent_as_no_object else classes - 2)
    target[layer, pairs.clip[pair], pairs.frame[pair], query] = label[pair]
    weight = logits.new_ones(classes)
    weight[-1] = settings.no_object_weight
    terms = cross_entropy(logits.flatten(0, 3), target.flatten(), weight, reduction="none")
    terms = terms.view(logits.shape[0], -1).sum(1)
    if total is None:
        return (terms / weight[target].flatten(1).sum(1)).sum()
    others = settings.no_object_weight * (target[0].numel() - total)
    return terms.sum() / (total + others)


def mask_losses(
    layers: LayerPredictions, pairs: Pairs, settings: LossSettings, points: Points
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and Dice at sampled points, summed over pairs and layers."""
    depth, count = pairs.query.shape
    if count == 0:
        nothing = torch.stack([masks.sum() for masks in layers.mask_logits]).sum() * 0.0
        return nothing, nothing
    logits = torch.stack(
        [
            masks[pairs.clip, pairs.frame, query]
            for masks, query in zip(layers.mask_logits, pairs.query.clamp(min=0), strict=True)
        ]
    )
    matched = (pairs.query >= 0).to(logits.dtype)
    maps = logits.flatten(0, 1)[:, None]
    at = _uncertain_points(maps.detach(), settings, points, pairs.rows)
    x = sample_points(maps, at)[:, 0].view(depth, count, -1)
    y = _labels_at(pairs.mask, at.view(depth, count, -1, 2))
    mask = binary_cross_entropy_with_logits(x, y, reduction="none").mean(-1)
    p = x.sigmoid()
    dice = 1 - (2 * (p * y).sum(-1) + 1) / (p.sum(-1) + y.sum(-1) + 1)
    return (mask * matched).sum(), (dice * matched).sum()


def _labels_at(masks: Tensor, points: Tensor) -> Tensor:
    """Mask values (L, U, P) of masks (U, H, W) at points (L, U, P, 2), interpolated."""
    depth, count, number, _ = points.shape
    grid = points.transpose(0, 1).reshape(count, depth * number, 2)
    return sample_points(masks[:, None].float(), grid)[:, 0].view(count, depth, -1).transpose(0, 1)


def _uncertain_points(
    maps: Tensor,
    settings: LossSettings,
    points: Points = ONE_STREAM,
    rows: Sequence[int] | None = None,
) -> Tensor:
    """Points (M, P, 2) for maps (M, 1, h, w): most where logits are near zero, the rest random.

    ``rows`` says how many maps of a layer each clip has; by default all are of one.
    """
    total, uncertain = settings.num_points, int(settings.importance * settings.num_points)
    rows, device = rows or [len(maps)], maps.device
    depth = len(maps) // sum(rows)
    candidates = points.draw(rows, int(settings.oversample * total), device, depth)
    certainty = sample_points(maps, candidates)[:, 0].abs()
    chosen = certainty.topk(uncertain, dim=1, largest=False, sorted=False).indices
    chosen = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, points.draw(rows, total - uncertain, device, depth)], 1)
