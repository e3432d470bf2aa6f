"""Plain vision transformers from timm, by name, at any input size and with 16-pixel patches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import LayerNorm2d
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from videomt_bench.errors import BenchError, unknown

JOINT_BLOCKS = {6: 3, 12: 3, 24: 4, 40: 5}
"""Depth -> how many of the last blocks see queries and patches together (EoMT, CVPR 2025)."""


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder, at which grid.

    ``weights`` is None (random), "timm" (timm's cache or hub) or a checkpoint file in timm's or
    the original layout. Patch kernel and position grid are resampled to ``patch_size`` and
    ``image_size`` when weights are loaded; inputs of other sizes resample positions on the fly.
    """

    name: str
    image_size: int = 640
    patch_size: int = 16
    joint_blocks: int | None = None
    weights: str | None = None


class ConvStem(nn.Module):
    """Patch embedding by 3×3 convolutions of stride 2, for small encoders trained from scratch.

    Takes the arguments of timm's ``PatchEmbed``; returns (N, h, w, D).
    """

    def __init__(
        self, img_size: int, patch_size: int, in_chans: int, embed_dim: int, **_: Any
    ) -> None:
        super().__init__()
        depth = patch_size.bit_length() - 1
        if 2**depth != patch_size:
            raise BenchError(f"patch size {patch_size} is not a power of two, as this stem needs")
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        widths = [in_chans, *(embed_dim >> (depth - i) for i in range(1, depth + 1))]
        layers: list[nn.Module] = []
        for i in range(depth):
            layers.append(nn.Conv2d(widths[i], widths[i + 1], 3, 2, 1))
            if i < depth - 1:
                layers += [LayerNorm2d(widths[i + 1]), nn.GELU()]
        self.proj = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        return self.proj(frames).permute(0, 2, 3, 1)


SMALL_ENCODERS: dict[str, dict[str, Any]] = {
    "vit_tiny_conv_patch8": dict(
        embed_dim=96, depth=6, num_heads=4, class_token=False, embed_layer=ConvStem
    ),
}
"""Encoders that timm does not name: arguments of its ``VisionTransformer``."""


class ViTEncoder(nn.Module):
    """A timm ViT in two parts: plain blocks for frames, joint blocks for queries and frames.

    Args:
        vit: the transformer; its head is unused.
        joint_blocks: how many of the last blocks are joint.
    """

    component = "encoder"

    def __init__(self, vit: VisionTransformer, joint_blocks: int) -> None:
        super().__init__()
        if not 0 < joint_blocks < len(vit.blocks):
            raise BenchError(
                f"{joint_blocks} joint blocks do not fit an encoder of {len(vit.blocks)} blocks; "
                f"valid: 1 to {len(vit.blocks) - 1}"
            )
        self.vit = vit
        self.num_joint = joint_blocks
        self.dim: int = vit.embed_dim
        self.num_prefix: int = vit.num_prefix_tokens
        self.patch_size: int = vit.patch_embed.patch_size[0]

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) -> tokens (N, R + P, D) after the plain blocks, prefix first.

        Raises:
            BenchError: H or W is no multiple of the patch size.
        """
        height, width = frames.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise BenchError(
                f"input {height}x{width} is not valid: height and width must be multiples of the "
                f"patch size {self.patch_size}"
            )
        vit = self.vit
        tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(frames))))
        for block in vit.blocks[: -self.num_joint]:
            tokens = block(tokens)
        return tokens

    @property
    def joint_blocks(self) -> nn.Sequential:
        """The blocks that see queries and patches together."""
        return self.vit.blocks[-self.num_joint :]

    @property
    def norm(self) -> nn.Module:
        """The final norm, shared by queries and patches."""
        return self.vit.norm


def encoder_names() -> list[str]:
    """Every encoder name that ``build_encoder`` knows."""
    return sorted({*SMALL_ENCODERS, *timm.list_models("vit_*", exclude_filters="*_gap_*")})


def build_encoder(spec: EncoderSpec) -> ViTEncoder:
    """Build an encoder, with its weights if the specification names any.

    Raises:
        BenchError: unknown name, not a plain ViT, or weights that are missing or do not fit.
    """
    check_weights(spec)
    vit = (_small if spec.name in SMALL_ENCODERS else _from_timm)(spec)
    if not isinstance(vit, VisionTransformer):
        raise BenchError(f"encoder {spec.name!r} is a {type(vit).__name__}, not a plain ViT")
    vit.head = nn.Identity()
    depth = len(vit.blocks)
    return ViTEncoder(vit, spec.joint_blocks or JOINT_BLOCKS.get(depth, max(1, depth // 4)))


def check_weights(spec: EncoderSpec) -> None:
    """Check name and weights of an encoder without building it.

    Raises:
        BenchError: the name is unknown, or the weight file is not there.
    """
    if spec.name not in SMALL_ENCODERS and not timm.is_model(spec.name.split(".")[0]):
        raise unknown("encoder", spec.name, encoder_names())
    if spec.weights is None:
        return
    if spec.weights == "timm":
        if spec.name in SMALL_ENCODERS:
            raise BenchError(f"timm has no weights for the encoder {spec.name!r}; use weights=None")
    elif not Path(spec.weights).is_file():
        raise BenchError(
            f"encoder weights {spec.weights!r} are not a file; give a checkpoint file, "
            "'timm' for timm's cache, or None for random weights"
        )


def _small(spec: EncoderSpec) -> VisionTransformer:
    vit = VisionTransformer(
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        num_classes=0,
        dynamic_img_size=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        global_pool="",
        **SMALL_ENCODERS[spec.name],
    )
    if spec.weights is not None:
        _load_small(vit, spec.weights)
    return vit


def _load_small(vit: VisionTransformer, file: str) -> None:
    try:
        vit.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        raise _bad_weights(file, error) from None


def _from_timm(spec: EncoderSpec) -> nn.Module:
    arguments: dict[str, Any] = dict(
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        num_classes=0,
        dynamic_img_size=True,
    )
    if spec.weights not in (None, "timm"):
        arguments["pretrained_cfg_overlay"] = dict(file=spec.weights, custom_load=False)
    create: Callable[..., nn.Module] = partial(timm.create_model, spec.name, **arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return create(pretrained=spec.weights is not None)
    except TypeError as error:
        raise BenchError(
            f"encoder {spec.name!r} is not a plain ViT that takes any input size: {error}"
        ) from None
    except Exception as error:
        if spec.weights is None:
            raise
        raise _bad_weights(spec.weights, error) from None


def _bad_weights(source: str, error: Exception) -> BenchError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return BenchError(f"encoder weights from {source!r} cannot be loaded: {reason}")
