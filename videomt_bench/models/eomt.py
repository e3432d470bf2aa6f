"""EoMT: a plain ViT as segmenter (Kerssies et al., "Your ViT is secretly an image segmentation
model", CVPR 2025). Queries join the patch tokens in the last blocks; there is no decoder."""

from __future__ import annotations

import math

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from videomt_bench.models.contracts import (
    DefersMasks,
    FrameFeatures,
    FrameOutput,
    FrameSegmenter,
    Prediction,
)
from videomt_bench.models.encoders import ViTEncoder, build_encoder
from videomt_bench.models.heads import MaskProduct
from videomt_bench.models.variant import ModelSpec


class ScaleBlock(nn.Module):
    """Doubles height and width: (N, D, h, w) -> (N, D, 2h, 2w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False)
        self.norm = LayerNorm2d(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self._channels_last(x)
        return self.norm(self.conv2(nn.functional.gelu(self.conv1(x))))

    def _channels_last(self, x: Tensor) -> Tensor:
        """The same with channels last and ``conv1`` as a matrix product: a faster gradient."""
        count, dim, height, width = x.shape
        weight = self.conv1.weight.permute(0, 2, 3, 1).reshape(dim, 4 * dim)
        tokens = x.permute(0, 2, 3, 1).reshape(-1, dim)
        bias = self.conv1.bias
        assert bias is not None
        pixels = torch.addmm(bias.repeat(4), tokens, weight)
        pixels = pixels.view(count, height, width, 2, 2, dim).transpose(2, 3)
        x = nn.functional.gelu(pixels.reshape(count, 2 * height, 2 * width, dim))
        x = self.conv2(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        norm = self.norm
        x = nn.functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        return x.permute(0, 3, 1, 2)


class EoMT(FrameSegmenter, DefersMasks):
    """The segmenter of steps 1 to 6.

    Args:
        encoder: the ViT, in plain and joint blocks.
        num_classes: C, without no-object.
        normalize_intermediate: apply the final norm before intermediate predictions, as EoMT does;
            the public VidEoMT code leaves it out.
    """

    component = "heads"

    def __init__(
        self, encoder: ViTEncoder, num_classes: int, normalize_intermediate: bool = True
    ) -> None:
        super().__init__()
        dim = encoder.dim
        self.encoder = encoder
        self.dim = dim
        self.num_classes = num_classes
        self.stride = encoder.patch_size
        self.normalize_intermediate = normalize_intermediate
        self.mask_probability = [0.0] * encoder.num_joint
        self.class_head = nn.Linear(dim, num_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim)
        )
        self.mask_product = MaskProduct()
        doublings = max(1, int(math.log2(encoder.patch_size)) - 2)
        self.upscale = nn.Sequential(*(ScaleBlock(dim) for _ in range(doublings)))
        # tokens are channels-last as they come
        self.upscale.to(memory_format=torch.channels_last)

    @classmethod
    def from_spec(cls, spec: ModelSpec, **options: bool) -> EoMT:
        """Build from a model specification; options are those of the class."""
        return cls(build_encoder(spec.encoder), spec.num_classes, **options)

    def encode(self, frames: Tensor) -> FrameFeatures:
        height, width = frames.shape[-2:]
        return FrameFeatures(self.encoder(frames), (height, width))

    def decode(
        self, features: FrameFeatures, queries: Tensor, slots: Tensor | None = None
    ) -> FrameOutput:
        grid = (features.size[0] // self.stride, features.size[1] // self.stride)
        count = queries.shape[1]
        tokens, rotation = features.maps["tokens"], features.maps.get("rotation")
        x = torch.cat([queries.to(tokens.dtype), tokens], dim=1)
        intermediate = []
        there = None if slots is None else _without_padding(slots, x.shape[1])
        for block, probability in zip(
            self.encoder.joint_blocks, self.mask_probability, strict=True
        ):
            mask = there
            if self.training:
                normed = self.encoder.norm(x) if self.normalize_intermediate else x
                prediction = self._predict(normed, count, grid)[0]
                intermediate.append(prediction)
                if probability > 0:
                    own = self._attention_mask(prediction.mask_logits, x, grid, probability)
                    mask = own if there is None else own & there
            x = self.encoder.run(block, x, rotation, mask)
        normed = self.encoder.norm(x)
        final, mask_features = self._predict(normed, count, grid)
        return FrameOutput(
            final.class_logits,
            final.mask_logits,
            queries=x[:, :count],
            embeddings=normed[:, :count],
            intermediate=tuple(intermediate),
            mask_features=mask_features,
        )

    def decode_classes(self, features: FrameFeatures, queries: Tensor) -> FrameOutput:
        grid = (features.size[0] // self.stride, features.size[1] // self.stride)
        count = queries.shape[1]
        tokens, rotation = features.maps["tokens"], features.maps.get("rotation")
        x = torch.cat([queries.to(tokens.dtype), tokens], dim=1)
        for block in self.encoder.joint_blocks:
            x = self.encoder.run(block, x, rotation)
        normed = self.encoder.norm(x)
        embeddings, pixels = normed[:, :count], self._map(normed, count, grid)
        return FrameOutput(
            self.class_head(embeddings),
            pixels[:, :0],
            queries=x[:, :count],
            embeddings=embeddings,
            pixels=pixels.permute(0, 2, 3, 1),
        )

    def masks(self, embeddings: Tensor, pixels: Tensor) -> Tensor:
        features = self.upscale(pixels.permute(0, 3, 1, 2))
        return self.mask_product(self.mask_head(embeddings), features)

    def anneal_masks(self, progress: float) -> None:
        """Set the masking probability of each joint block for training progress in 0..1.

        Block i masks fully until its start, then with probability (1 - p)^0.9 until its end. The
        starts spread evenly over 1/6 to 4/6 of the training, each block taking 1/6 of it.
        """
        count = len(self.mask_probability)
        for i in range(count):
            start = 1 / 6 + (i / (count - 1) if count > 1 else 0.0) / 2
            done = min(max((progress - start) * 6, 0.0), 1.0)
            self.mask_probability[i] = (1 - done) ** 0.9

    def _predict(self, x: Tensor, count: int, grid: tuple[int, int]) -> tuple[Prediction, Tensor]:
        queries = x[:, :count]
        features = self.upscale(self._map(x, count, grid))
        masks = self.mask_product(self.mask_head(queries), features)
        return Prediction(self.class_head(queries), masks), features

    def _map(self, x: Tensor, count: int, grid: tuple[int, int]) -> Tensor:
        """The patch tokens of x, which ``count`` queries lead, as a map (B, D, h, w)."""
        patches = x[:, count + self.encoder.num_prefix :]
        return patches.transpose(1, 2).unflatten(2, grid)

    def _attention_mask(
        self, mask_logits: Tensor, x: Tensor, grid: tuple[int, int], probability: float
    ) -> Tensor:
        """Queries see the patches of their own mask only: (B, 1, N, N), True where allowed."""
        batch, count = mask_logits.shape[:2]
        length = x.shape[1]
        own = interpolate(mask_logits.detach().float(), grid, mode="bilinear").flatten(2) > 0
        if probability < 1:
            own |= torch.rand(batch, count, 1, device=x.device) > probability
        allowed = torch.ones(batch, length, length, dtype=torch.bool, device=x.device)
        allowed[:, :count, length - own.shape[2] :] = own
        return allowed[:, None]


def _without_padding(slots: Tensor, length: int) -> Tensor | None:
    """Which of N tokens, led by queries in ``slots``, may be seen: (B, 1, 1, N); None: all."""
    if slots.is_meta or not bool((slots < 0).any()):
        return None
    return pad(slots >= 0, (0, length - slots.shape[1]), value=True)[:, None, None]
