"""Encoders with maps at four strides, which need no adapter: ResNets (He et al., CVPR 2016) and
Swin transformers (Liu et al., ICCV 2021) from timm, by name, as detection uses them.

Symbols: N frames of H × W pixels; C1 to C4 channels of the maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import freeze_batch_norm_2d
from timm.models import is_model_in_modules
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn.functional import pad

from videomt_bench.errors import BenchError
from videomt_bench.models.encoder_weights import (
    WeightReport,
    load_weights,
    pyramid_names,
    read_state,
)
from videomt_bench.models.encoders import EncoderSpec, Renormalize, check_weights, timm_state

STRIDES = (4, 8, 16, 32)
DROP_PATH = 0.3
"""Of Swin transformers in training: Mask2Former's and its descendants' public configurations."""
MAP_NORM = re.compile(r"^norm[0-3]\.")


class PaddedBlock(SwinTransformerBlock):
    """A Swin block that pads to whole windows before it shifts them, as detection does.

    timm's shifts first, which gives other windows wherever it pads. In both, padding is zero behind
    the first norm, and attended to.
    """

    def _attn(self, x: Tensor) -> Tensor:
        rows, columns = self.window_size
        height, width = x.shape[1:3]
        whole = pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        return super()._attn(whole)[:, :height, :width]


class PyramidEncoder(nn.Module):
    """A timm network of four stages, whose outputs are the maps.

    Batch norms are frozen, statistics and factors, as in detection. A Swin transformer has a norm
    for each map, which is not pre-trained.

    Args:
        net: without what comes behind the last stage.

    Attributes:
        dims: C1 to C4.
        mean, std: of the frames of its pre-training, in 0..1. It takes frames normalised by those
            of ImageNet, as all encoders here, and renormalises them.
        report: what was loaded, if weights were.
    """

    component = "encoder"

    def __init__(self, net: ResNet | SwinTransformer) -> None:
        super().__init__()
        config = getattr(net, "pretrained_cfg", {})
        self.mean: tuple[float, ...] = tuple(config.get("mean", IMAGENET_DEFAULT_MEAN))
        self.std: tuple[float, ...] = tuple(config.get("std", IMAGENET_DEFAULT_STD))
        same = (self.mean, self.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        self.renormalize = nn.Identity() if same else Renormalize(self.mean, self.std)
        self.net = net
        stages = net.feature_info[-len(STRIDES) :]
        self.dims: tuple[int, ...] = tuple(stage["num_chs"] for stage in stages)
        swin = isinstance(net, SwinTransformer)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in self.dims if swin)
        self.report: WeightReport | None = None

    @property
    def blocks(self) -> list[nn.Module]:
        """The residual or transformer blocks of all stages."""
        kinds = (BasicBlock, Bottleneck, SwinTransformerBlock)
        return [module for module in self.net.modules() if isinstance(module, kinds)]

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Normalised frames (N, 3, H, W) -> maps (N, Ci, ., .) at strides 4, 8, 16 and 32.

        Where a side is no multiple of a stride, the map is rounded up.

        Raises:
            BenchError: H or W is no multiple of 4.
        """
        height, width = frames.shape[-2:]
        if height % STRIDES[0] or width % STRIDES[0]:
            raise BenchError(
                f"input {height}x{width} is not valid: height and width must be multiples of "
                f"{STRIDES[0]}"
            )
        maps = self.net.forward_intermediates(
            self.renormalize(frames), indices=len(STRIDES), intermediates_only=True
        )
        if not self.norms:
            return maps
        return [
            norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for norm, x in zip(self.norms, maps, strict=True)
        ]


def build_pyramid(spec: EncoderSpec) -> PyramidEncoder:
    """Build an encoder that ``is_pyramid``, with its weights if the specification names any.

    Grid, patch and joint blocks are those of plain ViTs, and mean nothing here.

    Raises:
        BenchError: no such network, or weights that are missing or do not fit.
    """
    check_weights(spec)
    net = _from_timm(spec.name)
    encoder = PyramidEncoder(net)
    if spec.weights is not None:
        state = timm_state(spec.name) if spec.weights == "timm" else read_state(spec.weights)
        whole = as_published(encoder, norms=has_map_norms(state))
        encoder.report = load_weights(net, state, spec.weights, spec.partial, whole)
    return encoder


def as_published(encoder: PyramidEncoder, norms: bool) -> nn.Module:
    """The parts of an encoder by the names of a file: timm's, and ``norm0`` to ``norm3``.

    The latter are the norms of a Swin transformer's maps as the code for detection names them. They
    are in files of detectors, not in those of classifiers.
    """
    whole = nn.Module()
    for name, part in encoder.net.named_children():
        whole.add_module(name, part)
    for i, norm in enumerate(encoder.norms if norms else ()):
        whole.add_module(f"norm{i}", norm)
    return whole


def has_map_norms(names: Iterable[str]) -> bool:
    """Whether a file has norms of the maps of a Swin transformer."""
    return any(MAP_NORM.match(name) for name in pyramid_names(names).values())


def _from_timm(name: str) -> ResNet | SwinTransformer:
    if is_model_in_modules(name, "swin_transformer"):
        # windows keep their size in maps that are smaller, as those of detection do
        net = timm.create_model(
            name, drop_path_rate=DROP_PATH, dynamic_img_size=True, always_partition=True
        )
        for block in net.modules():
            if isinstance(block, SwinTransformerBlock):
                block.__class__ = PaddedBlock
    else:
        net = timm.create_model(name, zero_init_last=False)
        net = freeze_batch_norm_2d(net)
        _bound_variance(net)
    net.prune_intermediate_layers(len(STRIDES), prune_norm=True)
    return net


def _bound_variance(net: ResNet) -> None:
    """Scale the branches of random residual blocks, as their norms do nothing and never learn to.

    Each of n blocks then adds 1/n of the variance that enters it.
    """
    blocks = [m for m in net.modules() if isinstance(m, BasicBlock | Bottleneck)]
    for block in blocks:
        last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
        nn.init.constant_(last.weight, (2 * len(blocks)) ** -0.5)
