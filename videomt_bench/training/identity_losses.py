"""Contrastive losses of identities (CAVIS, arXiv 2407.03010; CTVIS, arXiv 2307.12616).

Embeddings of one object over the frames of a clip attract, those of different objects repel. Every
loss gives two terms, the contrastive one and the cosine one that goes with it; both are means over
items, and zero, attached to the graph, where there is no item. Computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize, softplus

from videomt_bench.data.clips import ClipTargets
from videomt_bench.training.class_memory import ClassMemory

NOT_HERE = -1e30
"""A logit that counts for nothing; minus infinity would have no gradient where all are it."""

Terms = tuple[Tensor, Tensor]
"""The contrastive term and the cosine term."""


def contrastive(anchors: Tensor, samples: Tensor, positive: Tensor) -> Tensor:
    """log(1 + Σ_i Σ_j exp(a·n_j - a·p_i)) of every anchor a, with positives p and negatives n.

    Args:
        anchors: (..., A, E).
        samples: (..., S, E), S at least 1.
        positive: bool (..., A, S): which samples are positives of an anchor; all others are its
            negatives.

    Returns:
        (..., A).
    """
    logits = anchors @ samples.transpose(-1, -2)
    negatives = logits.masked_fill(positive, NOT_HERE).logsumexp(-1)
    positives = (-logits).masked_fill(~positive, NOT_HERE).logsumexp(-1)
    return softplus(negatives + positives)


def cosine_error(anchors: Tensor, samples: Tensor, positive: Tensor) -> Tensor:
    """Mean over samples of (cosine - label)², label 1 for positives; arguments as above."""
    cosine = normalize(anchors, dim=-1, eps=1e-6) @ normalize(samples, dim=-1, eps=1e-6).mT
    return (cosine - positive.to(cosine.dtype)).square().mean(-1)


def identity_loss(
    identity: Tensor, targets: Sequence[ClipTargets], queries: Sequence[Tensor]
) -> Terms:
    """Re-ID embeddings of an object in all frames against those of the clip's other objects.

    Args:
        identity: (B, T, Q, E).
        targets: one per clip.
        queries: long (N, T) of each clip, the query of an object in a frame, -1 for none. Absent
            objects that have a query are one identity together.
    """
    items = []
    for embeddings, target, query in zip(identity.float(), targets, queries, strict=True):
        objects, frames = (query >= 0).nonzero(as_tuple=True)
        present = target.present.to(query.device)[objects, frames]
        groups = objects.where(present, -1).to(identity.device)
        items.append((embeddings[frames, query[objects, frames]], groups))
    return _mean_over_objects(items, identity)


def prototype_loss(mask_features: Tensor, targets: Sequence[ClipTargets]) -> Terms:
    """Mean mask features under the true masks of an object against those of the other objects.

    Clips of fewer than two objects are left out, and those with an object that has no pixel in any
    frame, at the size of the features.

    Args:
        mask_features: (B, T, D, h, w).
        targets: one per clip.
    """
    items = []
    for features, target in zip(mask_features, targets, strict=True):
        if len(target.labels) < 2:
            continue
        weights = interpolate(target.masks.float(), features.shape[-2:], mode="bilinear")
        area = weights.sum((-2, -1))
        objects, frames = (area > 0).nonzero(as_tuple=True)
        if len(objects.unique()) < len(area):
            continue
        sums = torch.einsum("nthw,tdhw->ntd", weights, features.float())
        items.append(((sums[objects, frames] / area[objects, frames, None]), objects))
    return _mean_over_objects(items, mask_features)


def reference_loss(reference: Tensor, queries: Sequence[Tensor], from_first: bool = False) -> Terms:
    """What a tracker looks for in a frame, against that in the frames before and after.

    References begin with the second frame, or ``from_first``. In each frame after that one, the
    reference of a slot that holds an object is nearer to the slot's in the previous frame, and in
    the next one, than to those of all other slots there.

    Args:
        reference: (B, T, Q, D).
        queries: long (N, T) of each clip, the slot of an object in a frame, -1 for none.
        from_first: whether the first frame's is one of them (DVIS++); without, it is not looked at.
    """
    length, first = reference.shape[1], 0 if from_first else 1
    pairs = [(t, s) for t in range(first + 1, length) for s in (t - 1, t + 1) if s < length]
    if not pairs:
        nothing = unlearned(reference)
        return nothing, nothing
    frames, others = (list(x) for x in zip(*pairs, strict=True))
    holds = _occupied(queries, reference.shape[:3], reference.device)[:, frames]
    anchors, samples = reference[:, frames].float(), reference[:, others].float()
    same = torch.eye(reference.shape[2], dtype=torch.bool, device=reference.device)
    items = holds.sum().clamp(min=1)
    main, cosine = (
        (term(anchors, samples, same) * holds).sum() / items for term in (contrastive, cosine_error)
    )
    return main, cosine


def refined_loss(
    embeddings: Tensor,
    queries: Sequence[Tensor],
    targets: Sequence[ClipTargets] = (),
    memory: ClassMemory | None = None,
) -> Tensor:
    """Refined tracks of objects: in each frame nearer to the track in all frames than to the other
    tracks in this one (DVIS++, arXiv 2312.13305).

    With a memory there is a second item for each frame of an object whose class it knows: nearer
    to the track in all frames than to what is remembered. Then the objects are remembered, in all
    frames.

    Args:
        embeddings: (B, T, Q, D).
        queries: long (N, 1) of each clip, the track of an object, -1 for none.
        targets: of each clip, needed with a memory.
        memory: of earlier iterations; it is brought up to date.
    """
    losses, objects = [], []
    for b, (x, query) in enumerate(zip(embeddings.float(), queries, strict=True)):
        tracks = query[query >= 0].to(x.device)
        anchors = x[:, tracks]
        over_time = torch.einsum("tnd,snd->tns", anchors, x[:, tracks])
        attraction = (-over_time).logsumexp(-1)
        within = anchors @ x.mT
        itself = tracks[:, None] == torch.arange(x.shape[1], device=x.device)
        negatives = within.masked_fill(itself, NOT_HERE).logsumexp(-1)
        losses.append(softplus(negatives + attraction).flatten())
        if memory is None:
            continue
        labels = targets[b].labels.cpu()[query[:, 0].cpu() >= 0].tolist()
        for k, label in enumerate(labels):
            if (remembered := memory.of(label)) is not None:
                negatives = (anchors[:, k] @ remembered.mT).logsumexp(-1)
                losses.append(softplus(negatives + attraction[:, k]))
        objects += list(zip(labels, anchors.unbind(1), strict=True))
    if memory is not None:
        memory.remember(objects)
    found = torch.cat(losses)
    return found.mean() if len(found) else unlearned(embeddings)


def unlearned(x: Tensor) -> Tensor:
    """Zero with a gradient of zeros: a process group waits for every parameter's gradient."""
    return (x * 0.0).sum().float()


def _mean_over_objects(clips: Sequence[tuple[Tensor, Tensor]], anchor: Tensor) -> Terms:
    """Terms of embeddings (n, E) and their objects (n,), an item per object of each clip."""
    clips = [(embeddings, objects) for embeddings, objects in clips if len(objects)]
    if not clips:
        nothing = unlearned(anchor)
        return nothing, nothing
    mains, cosines, counts = [], [], []
    for embeddings, objects in clips:
        same = objects[:, None] == objects
        share = 1 / same.sum(1)
        mains.append(contrastive(embeddings, embeddings, same).sum())
        cosines.append((cosine_error(embeddings, embeddings, same) * share).sum())
        counts.append(share.sum())
    items = torch.stack(counts).sum()
    return torch.stack(mains).sum() / items, torch.stack(cosines).sum() / items


def _occupied(
    queries: Sequence[Tensor], shape: tuple[int, ...] | torch.Size, device: torch.device
) -> Tensor:
    """Bool (B, T, Q): whether a slot holds an object."""
    occupied = torch.zeros(shape, dtype=torch.bool)
    for here, query in zip(occupied, queries, strict=True):
        objects, frames = (query >= 0).nonzero(as_tuple=True)
        here[frames, query[objects, frames].cpu()] = True
    return occupied.to(device)
