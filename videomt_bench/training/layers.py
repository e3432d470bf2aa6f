"""The predictions of all layers as one tensor: losses and matching have no loop over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import ClipOutput, ClipPrediction


@dataclass(frozen=True)
class LossSettings:
    """Constants of the Mask2Former losses (Cheng et al., CVPR 2022); matching costs share them.

    The weights from ``identity_weight`` on are those of CAVIS's contrastive losses, each with that
    of its cosine term; 0 switches a term off. ``pseudo_identity`` also matches absent objects in
    single frames, and takes all of them for one more identity, as the official code does. With
    ``tracklets`` identities learn by the loss of CTVIS instead, and with ``first_reference`` the
    loss of references looks at the first frame's too, both as in DVIS++; ``refined_weight`` is that
    of the contrastive loss of its refiner, which remembers ``class_memory`` embeddings of each
    class (0: none). Without ``last_intermediate`` the last of the intermediate predictions is not
    supervised, as in the public VidEoMT code. ``absent_as_no_object`` is what the label quirk of
    ``TrainClips`` means in CAVIS's code: an object that is gone in the last frame is learned as
    no-object, not as the last class.
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
    tracklets: bool = False
    first_reference: bool = False
    refined_weight: float = 0.0
    class_memory: int = 20
    absent_as_no_object: bool = False

    def __post_init__(self) -> None:
        if self.class_memory < 0:
            raise BenchError(
                f"class_memory is {self.class_memory}; it must be a number of embeddings from 0"
            )


@dataclass
class LayerPredictions:
    """Class logits (L, B, T, Q, C+1) and mask logits, L times (B, T, Q, h, w); the last is final.

    Few masks are needed, those of matched queries and of some frames, so they are not stacked.
    """

    class_logits: Tensor
    mask_logits: tuple[Tensor, ...]

    @staticmethod
    def of(output: ClipOutput, last_intermediate: bool = True) -> LayerPredictions:
        """The intermediate predictions of a clip and its final one, in float32."""
        kept = output.intermediate if last_intermediate else output.intermediate[:-1]
        return LayerPredictions.stack([*kept, output])

    @staticmethod
    def stack(layers: Sequence[ClipPrediction]) -> LayerPredictions:
        """Put predictions together, in float32."""
        return LayerPredictions(
            torch.stack([layer.class_logits for layer in layers]).float(),
            tuple(layer.mask_logits.float() for layer in layers),
        )


@dataclass(frozen=True)
class Points:
    """Where random points come from: one stream for the batch, or one for each of its clips."""

    generators: tuple[torch.Generator, ...] | None = None
    """Of each clip; None: torch's own stream."""

    def draw(
        self, rows: Sequence[int], number: int, device: torch.device, depth: int = 1
    ) -> Tensor:
        """Points (M, number, 2) in 0..1 for M = depth · sum(rows) maps, layer by layer.

        ``rows`` says how many maps of a layer each clip has, clip after clip.
        """
        if self.generators is None:
            return torch.rand(depth * sum(rows), number, 2, device=device)
        parts = [
            torch.rand(depth, count, number, 2, device=device, generator=generator)
            for count, generator in zip(rows, self.generators, strict=True)
        ]
        return torch.cat(parts, 1).flatten(0, 1)


ONE_STREAM = Points()


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (N, K, P) of maps (N, K, h, w) at points (N, P, 2), x and y in 0..1.

    Beyond the centres of the outer pixels a map fades to zero.
    """
    if maps.is_cuda and torch.are_deterministic_algorithms_enabled():
        return gather_points(maps, points)
    grid = 2.0 * points[:, None] - 1.0
    return grid_sample(maps, grid, mode="bilinear", align_corners=False)[:, :, 0]


def gather_points(maps: Tensor, points: Tensor) -> Tensor:
    """As ``sample_points``, by four gathers: their gradient has a deterministic CUDA kernel."""
    height, width = maps.shape[-2:]
    place = points * points.new_tensor([width, height]) - 0.5
    corner = place.floor()
    share = place - corner
    flat, values = maps.flatten(2), maps.new_zeros(())
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[..., 0] + dx, corner[..., 1] + dy
        weight = (share[..., 0] - (1 - dx)).abs() * (share[..., 1] - (1 - dy)).abs()
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
        index = index[:, None].expand(-1, maps.shape[1], -1)
        values = values + flat.gather(2, index) * (weight * inside)[:, None]
    return values
