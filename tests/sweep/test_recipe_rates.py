"""Schedules and parameter groups of the named recipes against printed values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from recipe_tables import recipe

from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.models.encoders import SMALL_ENCODERS
from videomt_bench.training.engine import TrainSettings
from videomt_bench.training.freezing import freeze
from videomt_bench.training.optim import OptimSettings, parameter_groups, schedule

LARGE = "vit_large_patch14_reg4_dinov2"


def course(name: str, data: str, stage: str) -> tuple[int, OptimSettings]:
    train: TrainSettings = getattr(recipe(name, data), stage).train
    return train.iterations, train.optim


@pytest.mark.parametrize(
    ("name", "data", "stage", "drops"),
    [
        ("cavis", "ytvis_2019", "segmenter", [28000]),
        ("cavis", "ovis", "video", [112000]),
        ("cavis", "vipseg", "video", [28000]),
        ("dvis_plus", "ytvis_2021", "segmenter", [6000, 12000]),
        ("dvis_plus", "vspw", "segmenter", [14000, 18000]),
        ("dvis_plus", "vipseg", "video", [14000]),
        ("dvis_daq", "ytvis_2019", "video", [112000]),
        ("dvis_daq", "vipseg", "video", [66000]),
    ],
)
def test_rates_fall_at_the_published_steps(
    name: str, data: str, stage: str, drops: list[int]
) -> None:
    total, optim = course(name, data, stage)
    for encoder in (False, True):
        assert schedule(0, total, optim, encoder) == 1, "no warm-up"
        for count, drop in enumerate(drops):
            assert schedule(drop - 1, total, optim, encoder) == pytest.approx(0.1**count)
            assert schedule(drop, total, optim, encoder) == pytest.approx(0.1 ** (count + 1))


def test_printed_values_of_the_polynomial() -> None:
    total, optim = course("videomt_june", "ytvis_2019", "video")
    assert (total, optim) == (60000, OptimSettings())
    printed = {250: (0.5, 0), 1000: (0.9924, 0.5), 1500: (0.9849, 1), 30000: (0.5399, 0.5482)}
    for step, values in printed.items():
        found = [schedule(step, total, optim, encoder) for encoder in (False, True)]
        assert found == pytest.approx(values, abs=5e-5)


def on_meta(variant: str, encoder: str) -> VideoSegmenter:
    with torch.device("meta"):
        spec = ModelSpec(EncoderSpec(encoder, 640, 16), num_classes=40)
        return load_variant(variant).build(spec)


def rates(model: VideoSegmenter, optim: OptimSettings) -> dict[str, float]:
    return {n: g["rate"] for g in parameter_groups(model, optim) for n in g["names"]}


def test_groups_of_videomt_large() -> None:
    """343 encoder and 21 other parameters; block i at 1e-4 · 0.6^(23 - i)."""
    model = on_meta("step6_videomt", LARGE)
    optim = course("videomt", "ytvis_2019", "video")[1]
    found = rates(model, optim)
    encoder = {n: r for n, r in found.items() if ".encoder." in n}
    assert (len(encoder), len(found) - len(encoder)) == (343, 21)
    printed = {23: 1.0, 22: 0.6, 21: 0.36, 20: 0.216, 16: 0.0280, 12: 3.6e-3, 8: 4.7e-4, 0: 7.9e-6}
    for block, factor in printed.items():
        own = {r for n, r in encoder.items() if f".blocks.{block}." in n}
        assert len(own) == 1
        assert own.pop() == pytest.approx(1e-4 * factor, rel=0.02)
    norms = {r for n, r in encoder.items() if ".vit.norm." in n}
    assert norms == {1e-4}
    slow = rates(model, replace(optim, slow_final_norm=True))
    changed = {n for n in found if found[n] != slow[n]}
    assert changed == {n for n in encoder if ".vit.norm." in n}
    assert [slow[n] for n in changed] == pytest.approx([1e-4 * 0.6**23] * 2)
    assert course("videomt_dinov3_public_code", "vspw", "video")[1].slow_final_norm


def test_groups_of_cavis_large() -> None:
    """Of the segmenter stage: 22.95 M in the adapter at a tenth of the rate, 20.88 M beside it;
    of the video stage the 9,812,265 of the tracker. Norms and embeddings do not decay."""
    model = on_meta("step0_cavis", "vit_large_patch14_dinov2")
    model.segmenter.adapter.encoder.requires_grad_(False)
    optim = course("cavis", "ytvis_2019", "segmenter")[1]
    assert (optim.clip_norm, optim.weight_decay, optim.warmup) == (0.01, 0.05, (0, 0))
    image = VideoSegmenter(model.segmenter, model.memory, model.tracker.image_stage())
    groups = parameter_groups(image, optim)
    sums = {1e-4: 0, 1e-5: 0}
    for group in groups:
        sums[round(group["rate"], 12)] += sum(p.numel() for p in group["params"])
    assert sums[1e-5] / 1e6 == pytest.approx(22.95, abs=0.005)
    assert sums[1e-4] / 1e6 == pytest.approx(6.10 + 14.78, abs=0.02)
    for group in groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            bare = group.get("weight_decay") == 0
            if parameter.dim() > 2:
                assert not bare, name
            if "norm" in name.split(".")[-2] or "learned" in name or "level_embed" in name:
                assert bare, name
    with freeze(model, load_variant("step0_cavis").frozen):
        groups = parameter_groups(model, course("cavis", "ytvis_2019", "video")[1])
    assert {group["rate"] for group in groups} == {1e-4}
    assert sum(p.numel() for g in groups for p in g["params"]) == 9_812_265


def test_the_old_optimizer_is_the_default() -> None:
    settings = OptimSettings()
    for group in parameter_groups(on_meta("step0_cavis", next(iter(SMALL_ENCODERS))), settings):
        assert "weight_decay" not in group
