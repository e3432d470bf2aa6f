"""The predictions of all layers as one tensor: losses and matching have no loop over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from videomt_bench.models.contracts import ClipOutput, ClipPrediction


@dataclass(frozen=True)
class LossSettings:
    """Constants of the Mask2Former losses (Cheng et al., CVPR 2022); matching costs share them.

    The weights from ``identity_weight`` on are those of CAVIS's contrastive losses, each with that
    of its cosine term; 0 switches a term off. ``pseudo_identity`` also matches absent objects in
    single frames, and takes all of them for one more identity, as the official code does. Without
    ``last_intermediate`` the last of the intermediate predictions is not supervised, as in the
    public VidEoMT code.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    num_points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75
    identity_weight: float = 2.0
    identity_cosine_weight: float = 2.0
    prototype_weight: float = 2.0
    prototype_cosine_weight: float = 2.0
    reference_weight: float = 2.0
    reference_cosine_weight: float = 2.0
    pseudo_identity: bool = False
    last_intermediate: bool = True


@dataclass
class LayerPredictions:
    """Class logits (L, B, T, Q, C+1) and mask logits (L, B, T, Q, h, w); the last is final."""

    class_logits: Tensor
    mask_logits: Tensor

    @staticmethod
    def of(output: ClipOutput, last_intermediate: bool = True) -> LayerPredictions:
        """Stack the intermediate predictions of a clip and its final one, in float32."""
        kept = output.intermediate if last_intermediate else output.intermediate[:-1]
        return LayerPredictions.stack([*kept, output])

    @staticmethod
    def stack(layers: Sequence[ClipPrediction]) -> LayerPredictions:
        """Stack predictions, in float32."""
        return LayerPredictions(
            torch.stack([layer.class_logits for layer in layers]).float(),
            torch.stack([layer.mask_logits for layer in layers]).float(),
        )


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (N, K, P) of maps (N, K, h, w) at points (N, P, 2), x and y in 0..1."""
    grid = 2.0 * points[:, None] - 1.0
    return grid_sample(maps, grid, mode="bilinear", align_corners=False)[:, :, 0]
