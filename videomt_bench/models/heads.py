"""Prediction heads of Mask2Former (Cheng et al., CVPR 2022), used by decoders and trackers.

Symbols: B frames, Q queries, D query width, C classes, h × w mask features.
"""

from __future__ import annotations

from typing import Any

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


def c2_xavier(mlp: MLP) -> MLP:
    """Initialised as Caffe2's Xavier, which Detectron2 uses: uniform by the fan in, biases zero."""
    for layer in mlp.layers:
        assert isinstance(layer, nn.Linear)
        nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.zeros_(layer.bias)
    return mlp


class MaskProduct(nn.Module):
    """Mask embeddings (B, Q, D) and mask features (B, D, h, w) -> mask logits (B, Q, h, w).

    A module, so that its cost has a name.
    """

    def forward(self, mask_embeddings: Tensor, mask_features: Tensor) -> Tensor:
        device = mask_features.device.type
        if self.training and device == "cpu" and not torch.is_autocast_enabled(device):
            return _SparseGradient.apply(mask_embeddings, mask_features)
        return _product(mask_embeddings, mask_features)


def _product(mask_embeddings: Tensor, mask_features: Tensor) -> Tensor:
    return torch.einsum("bqd,bdhw->bqhw", mask_embeddings, mask_features)


class _SparseGradient(torch.autograd.Function):
    """The product, with a gradient that leaves out masks without one: those of unmatched queries,
    which are most. To find them an accelerator would have to wait, so it is for the CPU."""

    @staticmethod
    def forward(ctx: Any, mask_embeddings: Tensor, mask_features: Tensor) -> Tensor:
        ctx.save_for_backward(mask_embeddings, mask_features)
        return _product(mask_embeddings, mask_features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        embeddings, features = ctx.saved_tensors
        pixels = features.permute(0, 2, 3, 1)
        own, maps = torch.zeros_like(embeddings), pixels.new_empty(pixels.shape)
        for b, gradient in enumerate(gradients[0].flatten(2)):
            rows = ((gradient.amax(1) != 0) | (gradient.amin(1) != 0)).nonzero()[:, 0]
            kept = gradient[rows]
            own[b, rows] = kept @ pixels[b].flatten(0, 1)
            torch.mm(kept.mT, embeddings[b, rows], out=maps[b].flatten(0, 1))
        return own, maps.permute(0, 3, 1, 2)


class PredictionHeads(nn.Module):
    """Class and mask of each query, after a norm that they share.

    Args:
        dim: D.
        num_classes: C, without no-object.
        mask_dim: channels of the mask features; by default D.
        reference_dim: width R of a reference that the class is read from as well, none with 0.
    """

    component = "heads"

    def __init__(
        self, dim: int, num_classes: int, mask_dim: int | None = None, reference_dim: int = 0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.class_embed = nn.Linear(reference_dim + dim, num_classes + 1)
        self.mask_embed = MLP(dim, dim, mask_dim or dim, 3)
        self.mask_product = MaskProduct()

    def forward(
        self,
        queries: Tensor,
        mask_features: Tensor,
        classes: bool = True,
        reference: Tensor | None = None,
    ) -> tuple[Prediction, Tensor]:
        """Queries (B, Q, D) and mask features -> prediction and normalised queries (B, Q, D).

        Without ``classes`` the class logits are not computed and their last axis is empty. The
        class is read from the ``reference`` (B, Q, R) and the normalised query, in this order.
        """
        normed = self.norm(queries)
        read = normed if reference is None else torch.cat([reference, normed], dim=-1)
        class_logits = self.class_embed(read) if classes else normed[..., :0]
        masks = self.mask_product(self.mask_embed(normed), mask_features)
        return Prediction(class_logits, masks), normed
