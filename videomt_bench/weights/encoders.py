"""Which encoder a checkpoint has, by names and shapes of its tensors; and files of one alone."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.encoder_weights import left_aside, pyramid_names, to_timm
from videomt_bench.models.encoders import EncoderSpec, ViTEncoder, build_encoder
from videomt_bench.models.pyramids import (
    PyramidEncoder,
    as_published,
    build_pyramid,
    has_map_norms,
)
from videomt_bench.weights.rules import State

SIZES = {
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1536, 40): "giant",
    (1280, 32): "huge_plus",
}
"""Width and number of blocks -> how a name calls the size."""
NAMES = {
    "DINOv2 with registers": "vit_{}_patch14_reg4_dinov2",
    "DINOv2": "vit_{}_patch14_dinov2",
    "DINOv3": "vit_{}_patch16_dinov3",
    "DINOv3 with biases": "vit_{}_patch16_dinov3_qkvb",
    "DeiT III": "deit3_{}_patch16_224",
    "EVA-02": "eva02_{}_patch14_224",
    "CLIP": "vit_{}_patch{}_clip_224",
    "SigLIP": "vit_{}_patch16_siglip_256",
    "plain": "vit_{}_patch16_224",
}
"""Kind of a ViT -> timm's name, by its size and, for CLIP, the patch of its pre-training."""
CLIP_PATCHES = {"base": 16, "large": 14}
CONV_STEMS = {(96, 6): "vit_tiny_conv_patch8"}
RESNETS: dict[tuple[tuple[int, ...], str], str] = {
    ((2, 2, 2, 2), "basic"): "resnet18",
    ((3, 4, 6, 3), "basic"): "resnet34",
    ((3, 4, 6, 3), "bottleneck"): "resnet50",
    ((3, 4, 23, 3), "bottleneck"): "resnet101",
    ((3, 8, 36, 3), "bottleneck"): "resnet152",
}
"""Blocks of the four stages, and their kind -> timm's name."""
SWINS: dict[tuple[int, tuple[int, ...], int], str] = {
    (96, (2, 2, 6, 2), 7): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), 7): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), 7): "swin_base_patch4_window7_224",
    (128, (2, 2, 18, 2), 12): "swin_base_patch4_window12_384",
    (192, (2, 2, 18, 2), 7): "swin_large_patch4_window7_224",
    (192, (2, 2, 18, 2), 12): "swin_large_patch4_window12_384",
}
"""Width, blocks of the four stages, side of the windows -> timm's name."""
RESNET_BLOCK = re.compile(r"^layer([1-4])\.(\d+)\.conv1\.weight$")
SWIN_BLOCK = re.compile(r"^layers\.([0-3])\.blocks\.(\d+)\.norm1\.weight$")
BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers?)\.(\d+)\.norm1\.weight$")
PATCHES = range(4, 65)
DEFAULT_SIZE = 640
"""Where nothing in a file depends on the size of the image."""


@dataclass(frozen=True)
class FoundEncoder:
    """An encoder by timm's name, its patch and the side of the image that its positions cover.

    The latter two are 0 of a pyramid, which has neither.
    """

    name: str
    patch_size: int = 0
    image_size: int = 0

    def spec(self) -> EncoderSpec:
        """To build it, with random weights."""
        if not self.patch_size:
            return EncoderSpec(self.name)
        return EncoderSpec(self.name, self.image_size, self.patch_size)


def find_encoder(state: Mapping[str, Tensor]) -> FoundEncoder:
    """The ViT of a state in one of the layouts of ``models.encoder_weights``.

    Raises:
        BenchError: none of those known here.
    """
    blocks = [
        (int(m[1]), v.numel()) for k, v in state.items() if (m := BLOCK.search(k)) is not None
    ]
    if not blocks:
        raise BenchError("the tensors of the encoder are those of no plain ViT")
    width, depth = blocks[0][1], 1 + max(i for i, _ in blocks)
    patch = _patch(state)
    if patch not in PATCHES:
        raise BenchError(f"patches of {patch} pixels are not possible; valid: 4 to 64")
    if "patch_embed.proj.0.weight" in state:
        name = CONV_STEMS.get((width, depth))
    else:
        size = SIZES.get((width, depth))
        name = size and NAMES[_kind(state)].format(size, CLIP_PATCHES.get(size, 14))
    if not name:
        raise BenchError(
            f"no encoder of {depth} blocks of width {width} is known; valid widths and depths: "
            + ", ".join(f"{w} and {d}" for w, d in [*SIZES, *CONV_STEMS])
        )
    return FoundEncoder(name, patch, _grid(state) * patch or DEFAULT_SIZE)


def find_pyramid(state: Mapping[str, Tensor]) -> FoundEncoder:
    """The ResNet or Swin transformer of a state by timm's names.

    Raises:
        BenchError: none of those known here.
    """
    if blocks := _stages(state, SWIN_BLOCK):
        width = len(state.get("layers.0.blocks.0.norm1.weight", ()))
        table = state.get("layers.0.blocks.0.attn.relative_position_bias_table")
        window = 0 if table is None or table.dim() != 2 else (math.isqrt(len(table)) + 1) // 2
        name = SWINS.get((width, blocks, window))
        what = f"Swin transformer of width {width}, windows of {window} and {blocks} blocks"
        valid = list(SWINS.values())
    else:
        blocks = _stages(state, RESNET_BLOCK)
        kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
        name = RESNETS.get((blocks, kind))
        what, valid = f"ResNet of {blocks} {kind} blocks", list(RESNETS.values())
    if name is None:
        raise BenchError(f"no {what} is known; valid: {', '.join(valid)}")
    return FoundEncoder(name)


def encoder_tensors(encoder: ViTEncoder | PyramidEncoder, state: State, source: str) -> State:
    """The tensors of an encoder by timm's names, resampled to the patches and grid of a ViT.

    Raises:
        BenchError: they cannot be.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            net = encoder.vit if isinstance(encoder, ViTEncoder) else encoder.net
            return to_timm(net, state)
    except Exception as error:  # whatever a layout that looks like another one leads to
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BenchError(f"the encoder in {source!r} cannot be read: {reason}") from None


@dataclass(frozen=True)
class EncoderAlone:
    """The tensors of a file of an encoder alone, by timm's names, in their own sizes."""

    found: FoundEncoder
    state: State
    unused: tuple[str, ...]
    """Names in the file of heads, and of what no encoder here needs."""

    @property
    def pyramid(self) -> bool:
        """Whether it is a ResNet or a Swin transformer."""
        return not self.found.patch_size

    def own(self) -> State:
        """The tensors that such an encoder has, by the same names, without values."""
        encoder = _empty(self.found)
        if isinstance(encoder, ViTEncoder):
            return encoder.vit.state_dict()
        return as_published(encoder, has_map_norms(self.state)).state_dict()


def encoder_alone(state: State, source: str) -> EncoderAlone:
    """What a file of an encoder alone holds.

    Raises:
        BenchError: an encoder that is not known here.
    """
    names = pyramid_names(state)
    renamed = {names[name]: value for name, value in state.items()}
    pyramid = bool(_stages(renamed, SWIN_BLOCK) or _stages(renamed, RESNET_BLOCK))
    found = find_pyramid(renamed) if pyramid else find_encoder(state)
    tensors = encoder_tensors(_empty(found), state, source)
    return EncoderAlone(found, tensors, left_aside(state, pyramid))


def _empty(found: FoundEncoder) -> ViTEncoder | PyramidEncoder:
    build = build_encoder if found.patch_size else build_pyramid
    with torch.device("meta"):
        return build(found.spec())


def _stages(state: Mapping[str, Tensor], block: re.Pattern[str]) -> tuple[int, ...]:
    """How many blocks the stages have, by names with the numbers of both."""
    stages = Counter(m[1] for name in state if (m := block.match(name)) is not None)
    return tuple(count for _, count in sorted(stages.items()))


def _kind(state: Mapping[str, Tensor]) -> str:
    names = set(state)
    rotary = {"storage_tokens", "embeddings.register_tokens"} & names
    if rotary or {"reg_token", "blocks.0.gamma_1"} <= names:
        biases = ("attn.q_bias", "attn.qkv.bias", "attention.q_proj.bias")
        return "DINOv3 with biases" if any(n.endswith(biases) for n in names) else "DINOv3"
    if {"reg_token", "register_tokens"} & names:
        return "DINOv2 with registers"
    if any(".mlp.fc1_g." in n or ".mlp.w1." in n or n.endswith(".q_bias") for n in names):
        return "EVA-02"
    if any(n.endswith((".ls1.gamma", ".gamma_1")) for n in names):
        tokens = state["pos_embed"].numel() // state["pos_embed"].shape[-1]
        return "DINOv2" if math.isqrt(tokens) ** 2 != tokens else "DeiT III"
    if "norm_pre.weight" in names:
        return "CLIP"
    return "plain" if "cls_token" in names else "SigLIP"


def _patch(state: Mapping[str, Tensor]) -> int:
    """Its side in pixels: that of the kernel, or what the convolutions of a stem come to."""
    kernels = [v for k, v in state.items() if "patch_embed" in k and v.dim() == 4]
    if len(kernels) > 1:
        return int(2 ** len(kernels))
    return int(kernels[0].shape[-1]) if kernels else 16


def _grid(state: Mapping[str, Tensor]) -> int:
    """Patches along a side of the position grid; 0 without positions."""
    positions = state.get("pos_embed")
    return 0 if positions is None or positions.dim() != 3 else math.isqrt(positions.shape[1])
