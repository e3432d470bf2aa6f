"""The temporal refiner of DVIS and DVIS++ (Zhang et al., ICCV 2023; arXiv 2312.13305): what a
tracker has found in all frames of a video is gone over once more, with all frames in view.

Symbols: B videos, T frames, Q tracks, N segmenter queries, d width, m channels of the mask
features, C classes, h × w mask features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, cast

from torch import Tensor, nn

from videomt_bench.models.contracts import Cost
from videomt_bench.models.heads import PredictionHeads
from videomt_bench.models.variant import DecoderSizes, SlotSizes


class Refined(NamedTuple):
    """What a layer of the refiner says of whole videos; masks are made where they are needed."""

    class_logits: Tensor
    """(B, Q, C+1), of a track in all frames together."""
    mask_embeddings: Tensor
    """(B, T, Q, m); their products with the mask features are mask logits."""
    embeddings: Tensor
    """The tracks themselves (B, T, Q, d), normalised."""


COUNTED_FRAMES = 21
"""Length of the video that the cost is that of, unless another is asked for: the clips of DVIS++'s
training with ViT-L."""


class RefinerLayer(nn.Module):
    """Attention of each track over time, a convolution over few frames, then within each frame
    attention among tracks and to the segmenter's queries, and a feed-forward network.

    A norm comes after each. Time has no positions; the convolution alone knows the order of frames.

    Args:
        sizes: ``dim``, ``heads`` and ``ffn`` are used.
        short_term: whether there is the convolution.
    """

    def __init__(self, sizes: DecoderSizes, short_term: bool = True) -> None:
        super().__init__()
        dim, heads = sizes.dim, sizes.heads
        self.time_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.time_norm = nn.LayerNorm(dim)
        self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.cross_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, sizes.ffn)
        self.linear2 = nn.Linear(sizes.ffn, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.conv: nn.Module | None = None
        if short_term:
            self.conv = nn.Sequential(
                nn.Conv1d(dim, dim, 5, padding=2, padding_mode="replicate"),
                nn.ReLU(),
                nn.Conv1d(dim, dim, 3, padding=1, padding_mode="replicate"),
            )
            self.conv_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Tracks (B, T, Q, d) and the segmenter's queries (B, T, N, d) -> tracks (B, T, Q, d)."""
        batch, count = len(x), x.shape[2]
        x = x.transpose(1, 2).flatten(0, 1)
        x = self.time_norm(x + self.time_attention(x, x, x, need_weights=False)[0])
        if self.conv is not None:
            x = self.conv_norm(x + self.conv(x.mT).mT)
        x = x.unflatten(0, (batch, count)).transpose(1, 2).flatten(0, 1)
        x = self.self_norm(x + self.self_attention(x, x, x, need_weights=False)[0])
        frame = memory.flatten(0, 1)
        x = self.cross_norm(x + self.cross_attention(x, frame, frame, need_weights=False)[0])
        x = self.ffn_norm(x + self.linear2(self.linear1(x).relu()))
        return x.unflatten(0, (batch, -1))

    def macs(self, count: int, frames: int) -> float:
        """Multiply-accumulates for a frame: matrix products and convolutions.

        Args:
            count: tracks, and as many queries of the segmenter.
            frames: of the video.
        """
        weights = (p.numel() for p in self.parameters() if p.dim() > 1)
        dim = self.time_norm.normalized_shape[0]
        return count * (sum(weights) + 2 * dim * (frames + 2 * count))


class TemporalRefiner(nn.Module):
    """Refines the tracks of whole videos: one class for each, and masks in all frames.

    Args:
        sizes: ``decoder`` has the sizes of the refiner.
        widening: d over the width of the decoder: 2 for DVIS++, whose tracks hold identities too.
        short_term: whether the layers have their convolutions, which DVIS-DAQ leaves out on some
            data sets.
    """

    component = "refiner"

    def __init__(self, sizes: SlotSizes, *, widening: int = 1, short_term: bool = True) -> None:
        super().__init__()
        decoder, width = sizes.decoder, sizes.decoder.dim
        self.dim = width * widening
        self.num_queries = sizes.num_queries
        own = replace(decoder, dim=self.dim)
        count = decoder.tracker_layers
        self.layers = nn.ModuleList(RefinerLayer(own, short_term) for _ in range(count))
        self.heads = PredictionHeads(self.dim, sizes.num_classes, width)
        self.heads.component = self.component
        self.activation_proj = nn.Linear(self.dim, 1)

    def forward(self, tracks: Tensor, memory: Tensor) -> tuple[Refined, ...]:
        """Refine the tracks of whole videos.

        Args:
            tracks: what the tracker gives in all frames (B, T, Q, d).
            memory: the segmenter's queries in all frames (B, T, N, d).

        Returns:
            The predictions of all layers in training, otherwise of the last one alone.
        """
        x, outputs = tracks, []
        for layer in self.layers:
            x = layer(x, memory)
            outputs.append(x)
        return tuple(self._predict(x) for x in (outputs if self.training else outputs[-1:]))

    def masks(self, mask_embeddings: Tensor, mask_features: Tensor) -> Tensor:
        """Of frames: (F, K, m) and (F, m, h, w) -> mask logits (F, K, h, w)."""
        return self.heads.mask_product(mask_embeddings, mask_features)

    def cost(self, frames: int = COUNTED_FRAMES) -> Cost:
        """What a frame of a video of ``frames`` frames costs, which no single step runs."""
        count, layers = self.num_queries, cast(Iterable[RefinerLayer], self.layers)
        macs = sum(layer.macs(count, frames) for layer in layers)
        embed = sum(p.numel() for p in self.heads.mask_embed.parameters() if p.dim() > 1)
        note = (
            f"a frame's share of a video of {frames} frames is declared; attention over "
            "time grows with the video, classes come once for it, masks for what is kept"
        )
        return Cost(macs=macs + count * embed, notes=[note])

    def _predict(self, x: Tensor) -> Refined:
        """A track's class is read from the mean of its frames, weighted by what they say of it."""
        normed = self.heads.norm(x)
        weights = self.activation_proj(normed).softmax(dim=1)
        classes = self.heads.class_embed((weights * normed).sum(1))
        return Refined(classes, self.heads.mask_embed(normed), normed)
