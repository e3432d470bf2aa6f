"""The cost record: complete, JSON, and honest about what is missing; the camera; the memory."""

from __future__ import annotations

import json

import pytest
import torch

from videomt_bench.cost.camera import Camera
from videomt_bench.cost.measure import measure_cost
from videomt_bench.cost.memory import MIB, peak_memory_mib
from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import FrameOutput

QUICK = {"frames": 2, "warmup": 1, "device": "cpu", "source": (36, 64)}


def test_everything_is_measured_and_recorded(videomt):
    model = videomt("vit_tiny_conv_patch8", 7)
    cost = measure_cost(model, 64, 96, precision="bf16", **QUICK)
    assert json.loads(json.dumps(cost, allow_nan=False)) == cost
    assert cost["params"] == sum(p.numel() for p in model.parameters())
    assert cost["gmacs"] > 0
    assert cost["gflops"] == pytest.approx(2 * cost["gmacs"], rel=0.05)
    assert cost["uncounted"] == {}
    assert sum(cost["by_operator"].values()) == pytest.approx(cost["gmacs"])
    assert cost["fps"].keys() == {"model", "end_to_end"}
    for clock, fps in cost["fps"].items():
        assert fps == pytest.approx(1000 / cost["milliseconds"][clock]["mean"])
    assert cost["peak_memory_mib"] > 0
    assert cost["graph_breaks"] is None
    protocol = cost["protocol"]
    assert protocol["device"].startswith("CPU ")
    assert protocol["precision"] == "bf16"
    assert protocol["compile"] is None
    assert protocol["input"] == [64, 96]
    assert protocol["source"] == [36, 64]
    assert protocol["attention"] == "fused when timed, unfused when counted"
    assert protocol["clock"].keys() == cost["fps"].keys()
    assert protocol["torch"] == torch.__version__
    expected = {"batch": 1, "classes": 40, "queries": 7, "frames": 2, "warmup": 1, "threads": 1}
    assert {k: protocol[k] for k in expected} == expected


def test_what_was_not_measured_is_none(toy):
    cost = measure_cost(toy(), 16, 24, count=False, time=False, **QUICK)
    assert cost["params"] > 0
    assert cost["gmacs"] is cost["gflops"] is cost["peak_memory_mib"] is None
    assert cost["fps"] == {"model": None, "end_to_end": None}
    assert "frames" not in cost["protocol"]


def test_parameters_of_the_official_small_model(videomt):
    model = videomt("vit_small_patch14_reg4_dinov2", 200, device="meta")
    params = measure_cost(model, 448, 800, device="cpu", time=False)["params"]
    # the official grid is 40 × 40 positions, this one 4 × 4
    assert params == 24_087_977 - (1600 - 16) * 384


def test_sizes_are_checked(toy):
    for size in [(0, 24), (16, 26)]:
        with pytest.raises(BenchError, match="multiples of 4"):
            measure_cost(toy(), *size, **QUICK)
    with pytest.raises(BenchError, match="positive"):
        Camera((0, 3), (4, 4))


def test_the_camera_feeds_720p_as_the_protocol_does():
    camera = Camera((720, 1280), (448, 800), distinct=2)
    assert camera.inner == (448, 796)
    frame = camera.load(0)
    assert frame.shape == (1, 3, 448, 800)
    assert frame.dtype == torch.float32
    assert not frame[..., 796:].any()
    assert frame[..., :796].std() > 0.1
    assert torch.equal(camera.load(2), frame)
    assert not torch.equal(camera.load(1), frame)


def test_the_camera_takes_masks_back_to_the_source():
    camera = Camera((36, 64), (32, 64), top=2)
    assert camera.inner == (32, 57)
    logits = torch.full((1, 3, 4), -9.0)
    logits[0, 1, 2] = 9.0
    masks = torch.full((1, 3, 8, 16), -1.0)
    masks[0, 1, :, :8] = 1.0
    scores, best = camera.finish(FrameOutput(logits, masks, masks, masks))
    assert scores.shape == (2,)
    assert best.shape == (2, 36, 64)
    assert best.dtype == torch.bool
    # half of the padded width, scaled by 64 / 57
    assert best[0].any(0).sum() == pytest.approx(32 * 64 / 57, abs=1.5)


def test_peak_memory_sees_a_large_tensor():
    small, what = peak_memory_mib(lambda: None, "cpu")
    size = 300 * MIB
    large, _ = peak_memory_mib(lambda: torch.ones(size // 4).sum(), "cpu")
    assert "process" in what
    if "while running" in what:
        assert large - small > 250
        assert peak_memory_mib(lambda: None, "cpu")[0] < large - 250
