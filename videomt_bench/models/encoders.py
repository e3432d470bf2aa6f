"""Plain vision transformers from timm, by name, at any input size and with 16-pixel patches.

With learned positions (DINOv2, IN-21K, DeiT III, CLIP), rotary ones (DINOv3) or both (EVA-02).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import LayerNorm2d
from timm.models import is_model_in_modules
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models.encoder_weights import WeightReport, check_file, load_weights, read_state
from videomt_bench.models.positions import dinov2_positions

JOINT_BLOCKS = {6: 3, 12: 3, 24: 4, 40: 5}
"""Depth -> how many of the last blocks see queries and patches together (EoMT, CVPR 2025)."""
DINOV3_RESCALE = 2.0
"""In training, the coordinates of DINOv3's rotary positions are multiplied by a log-uniform factor
between the inverse and this (Siméoni et al., 2025, arXiv 2508.10104)."""

PositionRule = Literal["timm", "dinov2"]
"""How learned positions are resampled where an input has another grid than they were learned for:
as timm does it, or as the authors of DINOv2 do, and after them those of DVIS++, DVIS-DAQ and CAVIS.
"""

PYRAMIDS = ("resnet", "swin_transformer")
"""timm's modules of encoders with maps at four strides."""


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder, at which grid.

    ``weights`` is None (random), "timm" (timm's cache or hub) or a checkpoint file in a layout of
    ``encoder_weights``. Patch kernel and position grid are resampled to ``patch_size`` and
    ``image_size`` when weights are loaded; inputs of other sizes resample positions on the fly.
    ``partial`` accepts weights that do not fill the encoder or have more than it. ``positions``
    says how it is done on the fly.
    """

    name: str
    image_size: int = 640
    patch_size: int = 16
    joint_blocks: int | None = None
    weights: str | None = None
    partial: bool = False
    positions: PositionRule = "timm"


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


class Renormalize(nn.Module):
    """Frames normalised by ImageNet's statistics -> the same frames normalised by others.

    Padding is zero before it, hence the mean colour of ImageNet to every encoder.

    Args:
        mean, std: of red, green and blue in 0..1.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        old, new = _columns(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD), _columns(mean, std)
        self.register_buffer("scale", old[1] / new[1], persistent=False)
        self.register_buffer("shift", (old[0] - new[0]) / new[1], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        return frames * self.scale + self.shift


class ViTEncoder(nn.Module):
    """A timm ViT in two parts: plain blocks for frames, joint blocks for queries and frames.

    Rotary positions are a value that goes from ``embed`` to ``run``: a table (N, P, 2E) of sines
    and cosines for N frames and heads of width E. In training that of DINOv3 is random, and one
    for all frames of a call.

    Args:
        vit: the transformer; its head is unused.
        joint_blocks: how many of the last blocks are joint.
        positions: how learned positions go to inputs of other sizes.

    Attributes:
        mean, std: of the frames of its pre-training, in 0..1. It takes frames normalised by those
            of ImageNet, as all encoders here, and renormalises them.
        report: what was loaded, if weights were.
    """

    component = "encoder"

    def __init__(
        self, vit: VisionTransformer | Eva, joint_blocks: int, positions: PositionRule = "timm"
    ) -> None:
        super().__init__()
        if not 0 < joint_blocks < len(vit.blocks):
            raise BenchError(
                f"{joint_blocks} joint blocks do not fit an encoder of {len(vit.blocks)} blocks; "
                f"valid: 1 to {len(vit.blocks) - 1}"
            )
        if positions != "timm" and isinstance(vit, Eva):
            raise BenchError(
                f"positions={positions!r} is a rule for learned positions alone; an encoder with "
                "rotary ones has 'timm'"
            )
        self.positions = positions
        config = getattr(vit, "pretrained_cfg", {})
        self.mean: tuple[float, ...] = tuple(config.get("mean", IMAGENET_DEFAULT_MEAN))
        self.std: tuple[float, ...] = tuple(config.get("std", IMAGENET_DEFAULT_STD))
        same = (self.mean, self.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        self.renormalize = nn.Identity() if same else Renormalize(self.mean, self.std)
        self.vit = vit
        self.num_joint = joint_blocks
        self.dim: int = vit.embed_dim
        self.num_prefix: int = vit.num_prefix_tokens
        self.patch_size: int = vit.patch_embed.patch_size[0]
        self.report: WeightReport | None = None

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Frames (N, 3, H, W) -> features after the plain blocks, frame by frame.

        Returns:
            ``tokens`` (N, R + P, D), prefix first, and with rotary positions ``rotation``
            (N, P, 2E).

        Raises:
            BenchError: H or W is no multiple of the patch size.
        """
        tokens, rotation = self.embed(frames)
        for block in self.vit.blocks[: -self.num_joint]:
            tokens = self.run(block, tokens, rotation)
        return {"tokens": tokens} if rotation is None else {"tokens": tokens, "rotation": rotation}

    def embed(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """Frames (N, 3, H, W) -> tokens (N, R + P, D) before the first block, and their rotation.

        Raises:
            BenchError: H or W is no multiple of the patch size.
        """
        height, width = frames.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise BenchError(
                f"input {height}x{width} is not valid: height and width must be multiples of the "
                f"patch size {self.patch_size}"
            )
        vit, rotation = self.vit, None
        tokens = vit.patch_embed(self.renormalize(frames))
        if isinstance(vit, Eva):
            tokens, table = vit._pos_embed(tokens)
            rotation = None if table is None else table.expand(len(frames), -1, -1)
        else:
            tokens = vit.patch_drop(self._placed(tokens))
        return vit.norm_pre(tokens), rotation

    def run(
        self,
        block: nn.Module,
        tokens: Tensor,
        rotation: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """One block on tokens (N, M, D); with a rotation (N, P, 2E), the last P are rotated.

        ``attn_mask`` broadcasts to (N, heads, M, M), True where a row may attend to a column.
        """
        if rotation is None:
            return block(tokens, attn_mask=attn_mask)
        # timm rotates all but the first R tokens, whatever they are
        ahead = tokens.shape[1] - self.num_prefix - rotation.shape[1]
        if ahead > 0:
            rotation = torch.cat([_no_rotation(rotation, ahead), rotation], dim=1)
        return block(tokens, rope=rotation[:, None], attn_mask=attn_mask)

    def _placed(self, patches: Tensor) -> Tensor:
        """Patches (N, h, w, D) with their positions, behind the prefix: (N, R + P, D)."""
        vit = self.vit
        if self.positions == "timm" or vit.pos_embed is None:
            return vit._pos_embed(patches)
        placed = 0 if vit.no_embed_class else self.num_prefix
        size = (int(patches.shape[1]), int(patches.shape[2]))
        learned = dinov2_positions(vit.pos_embed, vit.patch_embed.grid_size, size, placed)
        prefix = [
            x.expand(len(patches), -1, -1) for x in (vit.cls_token, vit.reg_token) if x is not None
        ]
        # prefix tokens without positions come as they are
        cells = patches.flatten(1, 2) + learned[:, placed:]
        ahead = torch.cat(prefix, 1) if prefix else cells[:, :0]
        if placed:
            ahead = ahead + learned[:, :placed]
        return vit.pos_drop(torch.cat([ahead, cells], 1))

    @property
    def joint_blocks(self) -> nn.Sequential:
        """The blocks that see queries and patches together."""
        return self.vit.blocks[-self.num_joint :]

    @property
    def norm(self) -> nn.Module:
        """The final norm, shared by queries and patches."""
        return self.vit.norm


def is_pyramid(name: str) -> bool:
    """Whether an encoder has maps at four strides and no tokens: a ResNet or a Swin transformer.

    ``models.pyramids`` builds those.
    """
    return is_model_in_modules(name, PYRAMIDS)


def encoder_names() -> list[str]:
    """Every encoder name that ``build_encoder`` or ``build_pyramid`` knows."""
    families = ["vit_*", "deit3_*", "eva02_*"]
    plain = timm.list_models(families, exclude_filters="*_gap_*")
    pyramids = [name for module in PYRAMIDS for name in timm.list_models(module=module)]
    return sorted({*SMALL_ENCODERS, *plain, *pyramids})


def build_encoder(spec: EncoderSpec) -> ViTEncoder:
    """Build an encoder, with its weights if the specification names any.

    Raises:
        BenchError: unknown name, not a plain ViT, or weights that are missing or do not fit.
    """
    check_weights(spec)
    if is_pyramid(spec.name):
        raise BenchError(
            f"encoder {spec.name!r} is not a plain ViT: it has maps at four strides and no tokens; "
            "valid with it are variants on Mask2Former"
        )
    vit = (_small if spec.name in SMALL_ENCODERS else _from_timm)(spec)
    if not isinstance(vit, (VisionTransformer, Eva)):
        raise BenchError(f"encoder {spec.name!r} is a {type(vit).__name__}, not a plain ViT")
    if getattr(vit, "rope_mixed", False):
        raise BenchError(
            f"encoder {spec.name!r} has other rotary positions in every block; "
            "valid are those with one table for all, such as DINOv3 and EVA-02"
        )
    vit.head = nn.Identity()
    depth = len(vit.blocks)
    joint = spec.joint_blocks or JOINT_BLOCKS.get(depth, max(1, depth // 4))
    encoder = ViTEncoder(vit, joint, spec.positions)
    if spec.weights is not None:
        state = timm_state(spec.name) if spec.weights == "timm" else read_state(spec.weights)
        encoder.report = load_weights(vit, state, spec.weights, spec.partial)
    return encoder


def check_weights(spec: EncoderSpec) -> None:
    """Check name and weights of an encoder without building it.

    Raises:
        BenchError: the name is unknown, or the weight file is not there or a pickle.
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
    else:
        check_file(spec.weights)


def _small(spec: EncoderSpec) -> VisionTransformer:
    return VisionTransformer(
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        num_classes=0,
        dynamic_img_size=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        global_pool="",
        **SMALL_ENCODERS[spec.name],
    )


def _from_timm(spec: EncoderSpec) -> nn.Module:
    # without pooling, the final norm is that of all tokens
    arguments: dict[str, Any] = dict(
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        num_classes=0,
        global_pool="",
        dynamic_img_size=True,
    )
    if "_dinov3" in spec.name:
        arguments["rope_rescale_coords"] = DINOV3_RESCALE
    try:
        return timm.create_model(spec.name, **arguments)
    except TypeError as error:
        raise BenchError(
            f"encoder {spec.name!r} is not a plain ViT that takes any input size: {error}"
        ) from None


def timm_state(name: str) -> dict[str, Tensor]:
    """The weights of timm's own model, from its cache or the hub."""
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise BenchError(f"encoder weights from 'timm' cannot be loaded: {reason}") from None


def _no_rotation(rotation: Tensor, count: int) -> Tensor:
    """Rows (N, count, 2E) of sine 0 and cosine 1."""
    frames, _, both = rotation.shape
    sine = rotation.new_zeros(frames, count, both // 2)
    return torch.cat([sine, torch.ones_like(sine)], dim=2)


def _columns(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return torch.tensor([mean, std])[:, :, None, None]
