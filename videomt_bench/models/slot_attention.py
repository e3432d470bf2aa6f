"""Slots that compete for the queries of a frame: the branch of DVIS-DAQ (arXiv 2404.00086) by which
a track notices that its object is gone. Slot attention: Locatello et al., NeurIPS 2020.

A slot whose object is there wins the object's query; that of an object which is gone wins none, and
background slots take what belongs to no track.

Symbols: B streams, S slots, Q queries of the segmenter, d tracker width.
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import normalize

from videomt_bench.models.variant import DecoderSizes

EPSILON = 1e-6


class SlotLayer(nn.Module):
    """Competitive cross-attention to queries and a feed-forward network, a norm after each.

    Args:
        sizes: ``dim``, ``heads`` and ``ffn`` are used.
    """

    def __init__(self, sizes: DecoderSizes) -> None:
        super().__init__()
        dim = sizes.dim
        self.cross_attention = nn.MultiheadAttention(dim, sizes.heads, batch_first=True)
        self.content_norm = nn.LayerNorm(dim)
        self.project_content = nn.Linear(dim, dim, bias=False)
        self.slot_norm = nn.LayerNorm(dim)
        self.project_slot = nn.Linear(dim, dim, bias=False)
        self.cross_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, sizes.ffn)
        self.linear2 = nn.Linear(sizes.ffn, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        content: Tensor,
        identity: Tensor,
        slots: Tensor,
        queries: Tensor,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            content: what the slots hold (B, S, d).
            identity: of whom they are (B, S, d), added to the content for the look at the queries.
            slots: what they compete with (B, S, d).
            queries: the segmenter's (B, Q, d).
            hidden: (B, Q), True for queries that no slot may see.

        Returns:
            The next content (B, S, d).
        """
        seen, _ = self.cross_attention(
            content + identity, queries, queries, key_padding_mask=hidden, need_weights=False
        )
        share = self.competition(content + seen, slots)
        weights = share + EPSILON
        weights = weights / weights.sum(1, keepdim=True)
        update = weights.transpose(1, 2).to(seen.dtype) @ seen
        content = self.cross_norm(content + update)
        return self.ffn_norm(content + self.linear2(self.linear1(content).relu()))

    def competition(self, content: Tensor, slots: Tensor) -> Tensor:
        """The share (B, S, S) of slot m, on the last axis, in what slot n has seen."""
        key = self.project_content(self.content_norm(content))
        query = self.project_slot(self.slot_norm(slots))
        return (key @ query.transpose(1, 2) / math.sqrt(key.shape[-1])).softmax(-1)


def nearest_queries(slots: Tensor, learned: Tensor) -> Tensor:
    """The learned query (B, S) whose content each slot starts from, by cosine.

    Assigned one to one, as many as there are; the slots that get none take their nearest.

    Args:
        slots: (B, S, d).
        learned: (B, Q, d).
    """
    device = "cpu" if slots.is_meta else slots.device.type
    with torch.autocast(device, enabled=False), torch.no_grad():
        a, b = (normalize(x.float(), dim=-1) for x in (slots, learned))
        cosine = (a @ b.transpose(1, 2)).nan_to_num(0.0)
    nearest = cosine.argmax(-1)
    # where nothing can be assigned, only the shape is right
    return nearest if slots.is_meta else _assigned(cosine, nearest)


@torch.compiler.disable
def _assigned(cosine: Tensor, nearest: Tensor) -> Tensor:
    found = nearest.cpu()
    for b, cost in enumerate(1 - cosine.cpu().numpy()):
        rows, columns = linear_sum_assignment(cost)
        found[b, torch.from_numpy(rows)] = torch.from_numpy(columns)
    return found.to(cosine.device)
