"""Prediction heads of Mask2Former (Cheng et al., CVPR 2022), used by decoders and trackers.

Symbols: B frames, Q queries, D query width, C classes, h × w mask features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videomt_bench.models.contracts import Prediction


class MLP(nn.Module):
    """Linear layers with ReLU between them: (..., in_dim) -> (..., out_dim).

    Args:
        in_dim, hidden, out_dim: widths of the input, between layers and of the output.
        layers: how many linear layers.
    """

    def __init__(self, in_dim: int, hidden: int, out_dim: int, layers: int) -> None:
        super().__init__()
        widths = [in_dim, *[hidden] * (layers - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


class MaskProduct(nn.Module):
    """Mask embeddings (B, Q, D) and mask features (B, D, h, w) -> mask logits (B, Q, h, w).

    A module, so that its cost has a name.
    """

    def forward(self, mask_embeddings: Tensor, mask_features: Tensor) -> Tensor:
        return torch.einsum("bqd,bdhw->bqhw", mask_embeddings, mask_features)


class PredictionHeads(nn.Module):
    """Class and mask of each query, after a norm that they share.

    Args:
        dim: D.
        num_classes: C, without no-object.
        mask_dim: channels of the mask features; by default D.
    """

    component = "heads"

    def __init__(self, dim: int, num_classes: int, mask_dim: int | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.class_embed = nn.Linear(dim, num_classes + 1)
        self.mask_embed = MLP(dim, dim, mask_dim or dim, 3)
        self.mask_product = MaskProduct()

    def forward(
        self, queries: Tensor, mask_features: Tensor, classes: bool = True
    ) -> tuple[Prediction, Tensor]:
        """Queries (B, Q, D) and mask features -> prediction and normalised queries (B, Q, D).

        Without ``classes`` the class logits are not computed and their last axis is empty.
        """
        normed = self.norm(queries)
        class_logits = self.class_embed(normed) if classes else normed[..., :0]
        masks = self.mask_product(self.mask_embed(normed), mask_features)
        return Prediction(class_logits, masks), normed
