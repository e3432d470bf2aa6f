"""The layer of trackers that look for objects of the previous frame among the queries of this one:
DVIS's referring tracker (Zhang et al., ICCV 2023), which CAVIS and DVIS++ share.

Symbols: B streams, Q queries, d tracker width.
"""

from __future__ import annotations

from torch import Tensor, nn

from videomt_bench.models.variant import DecoderSizes


class ReferringLayer(nn.Module):
    """Referring cross-attention, self-attention and a feed-forward network, a norm after each.

    The residual of the cross-attention is an input of its own, not the query.

    Args:
        sizes: ``dim``, ``heads`` and ``ffn`` are used.
    """

    def __init__(self, sizes: DecoderSizes) -> None:
        super().__init__()
        dim = sizes.dim
        self.cross_attention = nn.MultiheadAttention(dim, sizes.heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = nn.MultiheadAttention(dim, sizes.heads, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, sizes.ffn)
        self.linear2 = nn.Linear(sizes.ffn, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, residual: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """All are (B, Q, d), and so is the result."""
        x, _ = self.cross_attention(query, key, value, need_weights=False)
        x = self.cross_norm(residual + x)
        attended, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.self_norm(x + attended)
        return self.ffn_norm(x + self.linear2(self.linear1(x).relu()))
