"""A model on a pyramid learns: everything but its frozen batch norms, the encoder at a tenth."""

from __future__ import annotations

import torch

from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.models.variant import DecoderSizes
from videomt_bench.training.engine import train
from videomt_bench.training.modes import plain_blocks
from videomt_bench.training.optim import OptimSettings, parameter_groups

SIZES = DecoderSizes(dim=32, heads=4, ffn=48, layers=3, pixel_layers=1, pixel_ffn=48)
STEPS = OptimSettings(
    lr=1e-3, layer_decay=0.6, backbone_factor=0.1, warmup=(0, 0), milestones=(0.7,), decay_all=False
)
"""In the manner of Mask2Former; a decay by layers has no meaning for a pyramid."""


def minvis(encoder: str, sizes: DecoderSizes = SIZES) -> VideoSegmenter:
    return load_variant("minvis").build(ModelSpec(EncoderSpec(encoder), 3, 5, sizes))


def test_minvis_on_a_small_resnet_trains(tiny, tmp_path) -> None:
    """The losses fall, parameters move, and the batch norms stay bit by bit."""
    model = minvis("test_resnet")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = tiny.settings(iterations=8, matching="per_frame", optim=STEPS, divisor=32)
    result = train(tiny.awake(model), tiny.Clips(objects=2), settings, tmp_path, seed=0)
    assert result is not None
    parameters = dict(model.named_parameters())
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert all(value.isfinite().all() for value in model.state_dict().values())
    frozen = [name for name, _ in model.segmenter.encoder.named_buffers()]
    assert len(frozen) > 40
    assert moved.isdisjoint(f"segmenter.encoder.{name}" for name in frozen)
    still = {name for name in parameters if name not in moved}
    assert not still, still


def test_a_checkpointed_training_is_the_same(tiny, tmp_path) -> None:
    ends = []
    for on in (False, True):
        torch.manual_seed(0)
        model = tiny.awake(minvis("test_resnet"))
        settings = tiny.settings(iterations=2, optim=STEPS, divisor=32, checkpointing=on)
        train(model, tiny.Clips(objects=2), settings, tmp_path / str(on), seed=0)
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_rates_and_decay() -> None:
    """The encoder learns at a tenth, in all its layers; tables and norms never decay."""
    with torch.device("meta"):
        model = minvis("swin_tiny_patch4_window7_224")
    groups = parameter_groups(model, STEPS)
    rate = {name: g["rate"] for g in groups for name in g["names"]}
    first = {name: g["encoder"] for g in groups for name in g["names"]}
    decayed = {name for g in groups if g.get("weight_decay") is None for name in g["names"]}
    inside = {name for name in rate if name.startswith("segmenter.encoder.")}
    assert {rate[name] for name in inside} == {1e-4}
    assert {rate[name] for name in rate.keys() - inside} == {1e-3}
    assert all(first[name] == (name in inside) for name in first)
    tables = {name for name in inside if name.endswith("relative_position_bias_table")}
    assert len(tables) == 12
    assert decayed.isdisjoint(tables)
    assert {name for name in inside if ".norm" in name}.isdisjoint(decayed)
    assert "segmenter.encoder.net.layers.0.blocks.0.mlp.fc1.weight" in decayed


def test_blocks_that_are_checkpointed_and_compiled() -> None:
    with torch.device("meta"):
        assert len(plain_blocks(minvis("swin_tiny_patch4_window7_224"))) == 2 + 2 + 6 + 2
        assert len(plain_blocks(minvis("resnet50"))) == 3 + 4 + 6 + 3
