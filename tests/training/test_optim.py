from __future__ import annotations

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.training.optim import (
    OptimSettings,
    build_optimizer,
    parameter_groups,
    schedule,
    set_rates,
)

SETTINGS = OptimSettings()


def on_meta(name: str):
    with torch.device("meta"):
        encoder = EncoderSpec(f"vit_{name}_patch14_reg4_dinov2", 640, 16)
        return load_variant("step6_videomt").build(ModelSpec(encoder, num_classes=40))


def factors(model) -> dict[str, float]:
    """Parameter -> its rate over the base rate; fails if a parameter is in two groups."""
    pairs = [
        (n, g["rate"] / SETTINGS.lr) for g in parameter_groups(model, SETTINGS) for n in g["names"]
    ]
    assert len(pairs) == len({name for name, _ in pairs})
    return dict(pairs)


def test_the_paper_is_the_default():
    assert OptimSettings() == OptimSettings(
        lr=1e-4, weight_decay=0.05, layer_decay=0.6, warmup=(500, 1000), power=0.9, clip_norm=None
    )


def test_vit_large_has_343_encoder_and_21_other_parameters():
    model = on_meta("large")
    assert sum(p.numel() for p in model.parameters()) == 317_649_961
    groups = parameter_groups(model, SETTINGS)
    assert sum(len(g["names"]) for g in groups if g["encoder"]) == 343
    assert sum(len(g["names"]) for g in groups if not g["encoder"]) == 21
    assert {n for g in groups for n in g["names"]} == {n for n, _ in model.named_parameters()}
    own = dict(model.named_parameters())
    assert all(own[n] is p for g in groups for n, p in zip(g["names"], g["params"], strict=True))


def test_printed_factors_of_vit_large():
    found = factors(on_meta("large"))
    printed = {23: 1.0, 22: 0.6, 21: 0.36, 20: 0.216, 16: 0.0280, 12: 3.6e-3, 8: 4.7e-4, 0: 7.9e-6}
    for block, factor in printed.items():
        for part in ("norm1.weight", "ls2.gamma", "attn.qkv.bias", "mlp.fc2.weight"):
            assert found[f"segmenter.encoder.vit.blocks.{block}.{part}"] == pytest.approx(
                factor, rel=0.02
            )


@pytest.mark.parametrize(("name", "depth"), [("small", 12), ("large", 24)])
def test_factor_of_every_parameter(name, depth):
    """0.6 to the number of blocks above; the final norm and the heads learn at the full rate."""
    for parameter, factor in factors(on_meta(name)).items():
        words = parameter.split(".")
        if "encoder" not in words:
            expected = 1.0
        elif "blocks" in words:
            expected = 0.6 ** (depth - 1 - int(words[words.index("blocks") + 1]))
        elif "norm" in words:
            expected = 1.0
        else:
            assert words[3] in ("cls_token", "reg_token", "pos_embed", "patch_embed")
            expected = 0.6 ** (depth - 1)
        assert factor == pytest.approx(expected, rel=1e-9), parameter


def test_printed_values_of_the_schedule():
    printed = {250: (0.5, 0), 1000: (0.9924, 0.5), 1500: (0.9849, 1), 30000: (0.5399, 0.5482)}
    for step, values in printed.items():
        found = [schedule(step, 60000, SETTINGS, encoder) for encoder in (False, True)]
        assert found == pytest.approx(values, abs=5e-5)


@pytest.mark.parametrize("total", [2000, 40000, 60000, 160000])
@pytest.mark.parametrize("warmup", [(500, 1000), (50, 50), (0, 0)])
def test_schedule_at_every_stage(total, warmup):
    settings = OptimSettings(warmup=warmup)
    a, b = warmup
    steps = sorted({0, 1, a, a + 1, a + b - 1, a + b, total - 1, *range(0, total, 487)})
    for s in (s for s in steps if 0 <= s < total):
        head = s / a if s < a else (1 - (s - a) / (total - a)) ** 0.9
        if s < a:
            encoder = 0.0
        elif s < a + b:
            encoder = (s - a) / b
        else:
            encoder = (1 - (s - a - b) / (total - a - b)) ** 0.9
        assert schedule(s, total, settings, False) == pytest.approx(head, abs=1e-12)
        assert schedule(s, total, settings, True) == pytest.approx(encoder, abs=1e-12)


def test_the_first_step_changes_nothing_and_the_encoder_waits():
    assert schedule(0, 60000, SETTINGS, False) == schedule(0, 60000, SETTINGS, True) == 0
    assert schedule(499, 60000, SETTINGS, True) == schedule(500, 60000, SETTINGS, True) == 0


@pytest.mark.parametrize("total", [1, 10, 500, 1500])
def test_a_training_shorter_than_its_warmup(total):
    values = [schedule(s, total, SETTINGS, e) for s in range(total) for e in (False, True)]
    assert all(isinstance(v, float) and 0 <= v <= 1 for v in values)


def test_optimizer(tiny):
    """AdamW with weight decay on everything, norms and queries included."""
    model = tiny.model()
    optimizer = build_optimizer(model, SETTINGS)
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)
        assert group["weight_decay"] == 0.05
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(list(model.parameters()))
    set_rates(optimizer, 1000, 60000, SETTINGS)
    for group in optimizer.param_groups:
        factor = 0.5 if group["encoder"] else (1 - 500 / 59500) ** 0.9
        assert group["lr"] == pytest.approx(group["rate"] * factor, rel=1e-9)
    assert {g["rate"] for g in optimizer.param_groups if not g["encoder"]} == {1e-4}


def test_frozen_parameters_are_left_out(tiny):
    model = tiny.model()
    model.segmenter.encoder.requires_grad_(False)
    groups = parameter_groups(model, SETTINGS)
    assert [g["encoder"] for g in groups] == [False]


@pytest.mark.parametrize("step", [0, 69, 70, 89, 90, 99])
def test_steps_in_place_of_the_polynomial(step):
    settings = OptimSettings(warmup=(0, 0), milestones=(0.7, 0.9))
    expected = 1 if step < 70 else 0.1 if step < 90 else 0.01
    for encoder in (False, True):
        assert schedule(step, 100, settings, encoder) == pytest.approx(expected)


def test_steps_after_a_warmup():
    settings = OptimSettings(warmup=(10, 20), milestones=(0.7,))
    assert [schedule(s, 100, settings, False) for s in (5, 10, 69)] == [0.5, 1, 1]
    assert [schedule(s, 100, settings, True) for s in (5, 20, 69)] == [0, 0.5, 1]
    assert schedule(70, 100, settings, True) == pytest.approx(0.1)


def test_norms_and_embeddings_without_decay(tiny):
    model = tiny.model("step0_cavis")
    optimizer = build_optimizer(model, OptimSettings(decay_all=False, backbone_factor=0.1))
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    rates = {id(p): g["rate"] for g in optimizer.param_groups for p in g["params"]}
    assert set(decays.values()) == {0.0, 0.05}
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            kind = type(module).__name__
            bare = "Norm" in kind or kind == "Embedding" or own.endswith(("_embed", "positions"))
            assert decays[id(parameter)] == (0.0 if bare else 0.05), f"{name}.{own}"
            if name.startswith("segmenter.adapter") and ".encoder." not in f"{name}.":
                assert rates[id(parameter)] == pytest.approx(1e-5)
            if name.startswith("tracker"):
                assert rates[id(parameter)] == 1e-4


def test_milestones_are_shares():
    with pytest.raises(BenchError, match="shares of the iterations, between 0 and 1"):
        OptimSettings(milestones=(28000,))
