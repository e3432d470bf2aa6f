"""Clocks: what is timed, in what order, with which state; no times are asserted."""

from __future__ import annotations

import pytest
import torch

from videomt_bench.cost import clock as clocks
from videomt_bench.cost.clock import Setting, fps, running
from videomt_bench.errors import BenchError
from videomt_bench.models.compiling import clone
from videomt_bench.models.contracts import VideoState
from videomt_bench.models.memories import QueryFusion
from videomt_bench.models.variant import SlotSizes

SIZES = SlotSizes(5, 8, 3)


class Diary(QueryFusion):
    """Writes down the state it was given and the dtype of its output."""

    def __init__(self):
        super().__init__(SIZES)
        self.seen = []
        self.produced = []

    def queries(self, state):
        self.seen.append(state)
        assert not torch.is_grad_enabled()
        assert not self.training
        return state

    def update(self, state, output):
        self.produced.append(super().update(state, output))
        return self.produced[-1]


@pytest.fixture
def frames():
    loaded = []

    def load(i):
        loaded.append(i)
        return torch.full((1, 3, 16, 24), float(i))

    load.loaded = loaded
    return load


@pytest.mark.parametrize("clock", ["model", "end_to_end"])
def test_state_is_carried_from_frame_to_frame(toy, frames, clock):
    diary = Diary()
    model = toy(memory=diary).train()
    finished = []
    timing = fps(model, 4, frames, finished.append, clock=clock, warmup=2)
    assert frames.loaded == [0, 1, 2, 3, 4, 5]
    assert len(timing.milliseconds) == 4
    assert all(ms > 0 for ms in timing.milliseconds)
    assert timing.fps == pytest.approx(4000 / sum(timing.milliseconds))
    assert torch.equal(diary.seen[0], diary.first_queries(1))
    assert all(a is b for a, b in zip(diary.seen[1:], diary.produced, strict=False))
    assert len(finished) == (6 if clock == "end_to_end" else 0)
    assert model.training


def test_what_lies_between_the_clock_s_ticks(toy, frames, monkeypatch):
    """The model clock starts after the frame is loaded, the other one before."""
    order = []
    ticks = iter(range(1000))
    monkeypatch.setattr(
        clocks.time, "perf_counter", lambda: order.append("tick") or float(next(ticks))
    )

    def load(i):
        order.append("load")
        return frames(i)

    model = toy()
    step = model.step
    model.step = lambda frame, state: (order.append("step"), step(frame, state))[1]
    timing = fps(model, 1, load, clock="model", warmup=0)
    assert order == ["load", "tick", "step", "tick"]
    assert timing.mean_ms == timing.median_ms == 1000
    order.clear()
    fps(model, 1, load, lambda output: order.append("finish"), clock="end_to_end", warmup=0)
    assert order == ["tick", "load", "step", "finish", "tick"]


def test_warm_up_starts_again_after_a_compilation(toy, frames, monkeypatch):
    compilations = iter([0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2])
    monkeypatch.setattr(clocks, "_compilations", lambda: next(compilations))
    timing = fps(toy(), 2, frames, warmup=1)
    # frames 0 and 2 compile; 3 warms up, 4 and 5 count
    assert frames.loaded == [0, 1, 2, 3, 4, 5]
    assert len(timing.milliseconds) == 2


@pytest.mark.parametrize(("precision", "dtype"), clocks.PRECISIONS.items())
def test_autocast_computes_in_the_precision_over_fp32_weights(toy, frames, precision, dtype):
    model = toy()
    with running(model, Setting(precision=precision)) as stream:
        output, _ = stream.step(frames(0), model.init_state(1))
    assert output.class_logits.dtype == (dtype or torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_failed_compilation_is_an_error(toy, frames, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no kernel for this")

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, mode: original(f, backend=broken))
    with (
        torch._dynamo.config.patch(suppress_errors=True),
        pytest.raises(BenchError, match="no kernel for this"),
    ):
        fps(toy(), 1, frames, warmup=0, setting=Setting(compile_mode="default"))


def test_a_compiled_stream_gives_the_same_and_counts_its_breaks(toy, frames, monkeypatch):
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, mode: original(f, backend="eager"))
    model = toy().eval()
    with running(model, Setting(compile_mode="default")) as stream, torch.no_grad():
        state = plain = model.init_state(1)
        for i in range(3):
            output, state = stream.step(frames(i), state)
            expected, plain = model.step(frames(i), plain)
            torch.testing.assert_close(output.mask_logits, expected.mask_logits)
        assert clocks._compilations() > 0
        assert clocks.graph_breaks() == 0


def test_clone_owns_its_memory():
    state = VideoState(torch.zeros(2), {"bank": [torch.ones(1), None, 3]})
    copy = clone(state)
    copy.memory += 1
    copy.tracker["bank"][0] += 1
    assert state.memory.sum() == 0
    assert state.tracker["bank"][0] == 1
    assert copy.tracker["bank"][1:] == [None, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp8"}, "fp16"),
        ({"compile_mode": "fast"}, "max-autotune"),
        ({"device": "tpu"}, "cuda"),
        ({"device": "cuda:x"}, "cuda:N"),
        ({"device": "cuda:99"}, "not there"),
    ],
)
def test_bad_settings(options, words):
    with pytest.raises(BenchError, match=words):
        Setting(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clock": "wall"}, "end_to_end"),
        ({"clock": "end_to_end"}, "finish"),
        ({"frames": 0}, "at least 1"),
        ({"warmup": -1}, "at least 1"),
    ],
)
def test_bad_arguments(toy, frames, options, words):
    with pytest.raises(BenchError, match=words):
        fps(toy(), load=frames, **{"frames": 1, **options})
