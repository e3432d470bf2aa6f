"""The contrastive loss of identities with a memory of tracklets (CTVIS, Ying et al., ICCV 2023, in
the form that trains the segmenter of DVIS++, arXiv 2312.13305).

As in inference, an object of a frame is compared with what is remembered of it, and with all other
queries of the frame in which it was last seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from videomt_bench.data.clips import ClipTargets
from videomt_bench.training.identity_losses import Terms, contrastive, cosine_error, unlearned

REMEMBERED = 0.5
"""How often the positive is the fused embedding of the tracklet instead of its last one."""


def tracklet_loss(
    identity: Tensor, targets: Sequence[ClipTargets], queries: Sequence[Tensor]
) -> Terms:
    """An item for each frame in which an object is seen again; see ``identity_losses``.

    Args:
        identity: re-ID embeddings (B, T, Q, E).
        targets: one per clip.
        queries: long (N, T) of each clip, the query of an object in a frame, -1 for none.
    """
    anchors, samples, slots = [], [], []
    for embeddings, target, query in zip(identity.float(), targets, queries, strict=True):
        seen = (query >= 0) & target.present.to(query.device)
        for own, there in zip(query.tolist(), seen.tolist(), strict=True):
            frames = [t for t, here in enumerate(there) if here]
            tracklet = [embeddings[t, own[t]] for t in frames]
            for k, fused in enumerate(fuse(tracklet)[:-1]):
                last, slot = frames[k], own[frames[k]]
                remembered = bool(torch.rand(()) < REMEMBERED)
                positive = fused if remembered else tracklet[k]
                others = embeddings[last]
                samples.append(torch.cat([others[:slot], positive[None], others[slot + 1 :]]))
                anchors.append(tracklet[k + 1])
                slots.append(slot)
    if not anchors:
        nothing = unlearned(identity)
        return nothing, nothing
    places = torch.arange(identity.shape[2], device=identity.device)
    same = places == torch.tensor(slots, device=identity.device)[:, None, None]
    a, s = torch.stack(anchors)[:, None], torch.stack(samples)
    return contrastive(a, s, same).mean(), cosine_error(a, s, same).mean()


def fuse(tracklet: Sequence[Tensor]) -> list[Tensor]:
    """Similarity-guided fusion of the embeddings (E,) of an object, after each of them.

    A new embedding x enters with the weight max(0, mean cosine to those before it), so that one
    that is unlike them all, of an occluded object say, changes nothing.
    """
    fused: list[Tensor] = []
    for k, x in enumerate(tracklet):
        if not fused:
            fused.append(x)
            continue
        before = torch.stack(list(tracklet[:k]))
        weight = cosine_similarity(x[None], before, dim=-1).mean().clamp(min=0)
        fused.append((1 - weight) * fused[-1] + weight * x)
    return fused
