"""Whole models on Swin and ResNet against transformers' Mask2Former with the same random weights:
its tensors by detectron2's names, through the adapters of weights, into ours. All in float32."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from weights import port_names, published

from videomt_bench.weights import build_model, identify
from videomt_bench.weights.loading import fill

transformers = pytest.importorskip("transformers")

QUERIES, CLASSES = 12, 7
STAGES = [f"stage{i}" for i in range(1, 5)]
SWIN = dict(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7)


def randomise(module: nn.Module) -> None:
    """No tensor keeps a value that would hide an error; activations keep their scale."""
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        if any(x in name for x in ("level_embed", "queries_embedder", "queries_features")):
            value.normal_()
        elif value.dim() > 1 and "table" not in name:
            value.normal_(std=value[0].numel() ** -0.5)
        else:
            value.normal_(std=0.2)
            if "norm" in name and name.endswith(("weight", "running_var")):
                value.add_(1).abs_()


class Maps(nn.Module):
    """A backbone as transformers' Mask2Former asks for one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(feature_maps=self.net(frames).feature_maps)


def port(backbone: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The port on a backbone, and its tensors by the names of detectron2 files."""
    from transformers.models.mask2former import modeling_mask2former as code

    swin = transformers.SwinConfig(**SWIN, out_features=STAGES, drop_path_rate=0.0)
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, num_queries=QUERIES, id2label={i: str(i) for i in range(CLASSES)}
    )
    model = code.Mask2FormerForUniversalSegmentation(config).eval()
    level = model.model.pixel_level_module
    if backbone == "r50":
        net = transformers.ResNetBackbone(transformers.ResNetConfig(out_features=STAGES)).eval()
        level.decoder = code.Mask2FormerPixelDecoder(config, [256, 512, 1024, 2048]).eval()
        level.encoder = Maps(net)
    else:
        net = level.encoder
    randomise(model)
    own = {"r50": port_names.resnet, "swin_t": port_names.swin}[backbone](net.state_dict())
    state = port_names.mask2former(model.state_dict())
    return model, state | {f"backbone.{k}": v for k, v in own.items()}


@pytest.mark.parametrize(("backbone", "size"), [("r50", (96, 132)), ("swin_t", (256, 292))])
@torch.no_grad()
def test_outputs_are_those_of_transformers(backbone: str, size: tuple[int, int]) -> None:
    """Class and mask logits to 1e-4; Swin pads in all stages."""
    torch.manual_seed(0)
    theirs, state = port(backbone)
    shapes = published.on(backbone, published.mask2former(classes=CLASSES, queries=QUERIES))
    left = {k for k in shapes if not k.endswith(("position_index", "empty_weight"))}
    assert state.keys() == left
    assert all(tuple(v.shape) == shapes[k] for k, v in state.items())

    weights = identify(state, "a file")
    model = build_model(weights.info).eval()
    fill(model, weights)
    frames = torch.randn(1, 3, *size)
    expected = theirs(frames)
    features = model.encode(frames)
    found = model.segmenter.decode(features, model.memory.queries(model.memory.init_state(1)))
    decoder = expected.pixel_decoder_last_hidden_state
    mask_features = features.maps["mask_features"]
    assert decoder.std() > 0.1
    torch.testing.assert_close(mask_features, decoder, atol=1e-4, rtol=0)
    for ours, wanted in (
        (found.class_logits, expected.class_queries_logits),
        (found.mask_logits, expected.masks_queries_logits),
    ):
        assert wanted.std() > 0.1
        torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=0)
