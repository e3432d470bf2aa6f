"""Gradient checkpointing, compilation, deterministic mode, averages and curves."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.training import engine, modes, visualizers
from videomt_bench.training.engine import TrainSettings, train
from videomt_bench.training.hooks import CHECKPOINT, LOSSES
from videomt_bench.training.layers import gather_points, sample_points
from videomt_bench.training.modes import checkpointing, deterministic, plain_blocks


def same(model, other) -> bool:
    a, b = model.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Checkpointing


@pytest.mark.parametrize(("variant", "share"), [("step6_videomt", 0.5), ("step0_cavis", 0.8)])
def test_checkpointed_gradients_are_the_same_bits(tiny, variant, share):
    """Also with masked attention, whose draws are repeated."""
    found, kept = [], []
    for on in (False, True):
        model = tiny.awake(tiny.model(variant)).train()
        model.segmenter.anneal_masks(0.3)
        torch.manual_seed(1)
        clip = torch.randn(2, 3, 3, 32, 32)
        saved = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x, saved=saved: saved.append(x.numel()) or x, lambda x: x
        )
        manager = checkpointing(model) if on else torch.enable_grad()
        with manager, hooks:
            output, _ = model(clip)
            loss = output.mask_logits.square().mean() + output.class_logits.square().mean()
        kept.append(sum(saved))
        with checkpointing(model) if on else torch.enable_grad():
            loss.backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(g, found[1][n]) for n, g in found[0].items())
    assert kept[1] < share * kept[0], "less is kept for the backward pass"


def test_checkpointed_training_is_the_same_and_leaves_the_model_as_it_was(tiny, tmp_path):
    models = [tiny.model(), tiny.model()]
    for model, on in zip(models, (False, True), strict=True):
        settings = tiny.settings(iterations=4, checkpointing=on)
        train(model, tiny.Clips(), settings, tmp_path / str(on), seed=0)
    assert same(*models)
    assert "decode" not in vars(models[1].segmenter)
    assert not any("forward" in vars(block) for block in plain_blocks(models[1]))


# Compilation


def test_compiled_blocks_train_the_same(tiny, tmp_path, monkeypatch):
    """The plain blocks are compiled, once for all shapes seen (here without code generation)."""
    compiled = []

    def record(function, mode):
        compiled.append(mode)
        return compile_(function, backend="aot_eager")

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", record)
    models = [tiny.model(), tiny.model()]
    for model, mode in zip(models, (None, "default"), strict=True):
        settings = tiny.settings(iterations=2, compile=mode)
        train(model, tiny.Clips(), settings, tmp_path / str(mode), seed=0)
    assert compiled == ["default"] * len(plain_blocks(models[0])) != []
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_failed_compilation_is_one_sentence(tiny, tmp_path, monkeypatch):
    def fails(graph, inputs):
        raise RuntimeError("no compiler\nhere")

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, mode: compile_(f, backend=fails))
    with pytest.raises(BenchError, match=r"compile mode 'default' failed: .*no compiler here") as e:
        train(tiny.model(), tiny.Clips(), tiny.settings(compile="default"), tmp_path, seed=0)
    assert "\n" not in str(e.value)


# Deterministic


def test_deterministic_twice_is_the_same_bits(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv(modes.WORKSPACE, raising=False)
    seen = []

    class Clips(tiny.Clips):
        def __getitem__(self, i: int):
            seen.append(
                (
                    torch.are_deterministic_algorithms_enabled(),
                    torch.backends.cudnn.deterministic,
                    torch.backends.cudnn.benchmark,
                    os.environ[modes.WORKSPACE],
                )
            )
            return super().__getitem__(i)

    models = [tiny.model(), tiny.model()]
    for i, model in enumerate(models):
        settings = tiny.settings(iterations=4, deterministic=True)
        train(model, Clips(), settings, tmp_path / str(i), seed=0)
    assert same(*models)
    assert set(seen) == {(True, True, False, ":4096:8")}
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_workspace_that_is_not_deterministic(monkeypatch):
    monkeypatch.setenv(modes.WORKSPACE, ":1:1")
    match = "is ':1:1'; deterministic mode needs :4096:8"
    with pytest.raises(BenchError, match=match), deterministic():
        pass


def test_points_by_gathers_are_those_of_grid_sample():
    """Values and gradients, also of points in the fading border (1e-5)."""
    maps = torch.randn(3, 2, 5, 7, requires_grad=True)
    points = torch.rand(3, 50, 2)
    points[0, :4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.999, 0.001]])
    a, b = sample_points(maps, points), gather_points(maps, points)
    torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(a)
    (x,) = torch.autograd.grad((a * weight).sum(), maps)
    (y,) = torch.autograd.grad((b * weight).sum(), maps)
    torch.testing.assert_close(y, x, rtol=1e-5, atol=1e-5)


# Averages


def test_the_average_is_what_a_training_gives(tiny, tmp_path, monkeypatch):
    """Restated from the weights after every step."""
    steps = []
    update = engine.EmaHook.after_train_iter

    def recorded(self, runner, batch_idx, *arguments, **more):
        if batch_idx % 2:
            state = runner.model.model.state_dict()
            steps.append({name: value.clone() for name, value in state.items()})
        update(self, runner, batch_idx, *arguments, **more)

    monkeypatch.setattr(engine.EmaHook, "after_train_iter", recorded)
    model = tiny.model()
    settings = tiny.settings(iterations=4, per_device=1, ema=0.7)
    train(model, tiny.Clips(), settings, tmp_path, seed=0)
    expected = steps[0]
    for state in steps[1:]:
        expected = {name: 0.7 * x + 0.3 * state[name] for name, x in expected.items()}
    assert len(steps) == 4
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(value, steps[-1][n]) for n, value in model.state_dict().items())


def test_the_average_resumes_bit_by_bit(tiny, tmp_path):
    settings = tiny.settings(iterations=8, ema=0.9)
    whole, again = tiny.model(), tiny.model()
    train(whole, tiny.Clips(), settings, tmp_path / "whole", seed=0)
    with pytest.raises(tiny.Stop):
        train(tiny.model(), tiny.Clips(stop=10), settings, tmp_path / "again", seed=0)
    saved = torch.load(tmp_path / "again" / CHECKPOINT, weights_only=True)
    assert saved["meta"]["iter"] == 3
    assert int(saved["ema"]["n_averaged"]) == 3
    for parameter in again.parameters():
        torch.nn.init.normal_(parameter)
    train(again, tiny.Clips(), settings, tmp_path / "again", seed=0)
    assert same(whole, again)


def test_a_checkpoint_without_the_average_is_one_sentence(tiny, tmp_path):
    with pytest.raises(tiny.Stop):
        train(tiny.model(), tiny.Clips(stop=10), tiny.settings(), tmp_path, seed=0)
    with pytest.raises(BenchError, match=r"cannot continue from .*: it holds no ema; remove"):
        train(tiny.model(), tiny.Clips(), tiny.settings(ema=0.9), tmp_path, seed=0)


# Precision


def test_the_loss_scale_is_saved_and_resumed(tiny, tmp_path, monkeypatch):
    """float16 with its scaler, on the CPU for once: the scale grows every second step."""
    from contextlib import nullcontext

    from mmengine.optim import OptimWrapper
    from mmengine.optim.optimizer import amp_optimizer_wrapper as amp

    from videomt_bench.training.optim import build_optimizer
    from videomt_bench.training.precision import Float16

    class OnTheCpu(Float16):
        optim_context = OptimWrapper.optim_context

    def scaler(**options):
        return torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)

    wrappers = []

    def wrapper(model, settings, accumulation):
        made = OnTheCpu(dtype="float16", optimizer=build_optimizer(model, settings.optim))
        wrappers.append(made)
        return made

    monkeypatch.setattr(amp, "is_cuda_available", lambda: True)
    monkeypatch.setattr(amp, "GradScaler", scaler)
    monkeypatch.setattr(engine, "_optim_wrapper", wrapper)
    with nullcontext(tiny.settings(iterations=8)) as settings:
        whole, again = tiny.model(), tiny.model()
        train(whole, tiny.Clips(), settings, tmp_path / "whole", seed=0)
        with pytest.raises(tiny.Stop):
            train(tiny.model(), tiny.Clips(stop=10), settings, tmp_path / "again", seed=0)
        saved = torch.load(tmp_path / "again" / CHECKPOINT, weights_only=True)
        assert saved["optimizer"]["loss_scaler"]["scale"] == 8.0
        assert saved["optimizer"]["loss_scaler"]["_growth_tracker"] == 1
        train(again, tiny.Clips(), settings, tmp_path / "again", seed=0)
    assert same(whole, again)
    assert wrappers[0].loss_scaler.get_scale() == wrappers[2].loss_scaler.get_scale() == 64.0


# Curves


class FakeBackend:
    """Takes what mmengine's backends take."""

    made: ClassVar[list] = []

    def __init__(self, folder, **options) -> None:
        self.folder, self.options, self.rows, self.closed = folder, options, [], False
        self.made.append(self)

    def add_scalars(self, scalars, step) -> None:
        self.rows.append((step, dict(scalars)))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def backends(monkeypatch):
    monkeypatch.setattr(FakeBackend, "made", [])
    monkeypatch.setattr(visualizers, "TensorboardVisBackend", FakeBackend)
    monkeypatch.setattr(visualizers, "WandbVisBackend", FakeBackend)
    monkeypatch.setattr(visualizers, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return FakeBackend.made


def test_curves(tiny, tmp_path, backends):
    """Both get the logged losses, rates, time, memory and the norm; W&B stays offline."""
    settings = tiny.settings(iterations=4, visualizers=("tensorboard", "wandb"))
    train(tiny.model(), tiny.Clips(), settings, tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / LOSSES).open()]
    board, wandb = backends
    assert board.folder == str(tmp_path / "tensorboard")
    assert wandb.options["init_kwargs"]["mode"] == "offline"
    assert board.closed
    assert wandb.closed
    assert [step for step, _ in board.rows] == [1, 2, 3, 4]
    for line, (step, row), (_, other) in zip(lines, board.rows, wandb.rows, strict=True):
        assert {k: row[k] for k in line if k != "step"} == {k: line[k] for k in line if k != "step"}
        more = {"rate_heads", "rate_encoder", "seconds_per_iteration", "memory_mib"}
        assert row.keys() == line.keys() - {"step"} | more | {"gradient_norm"}
        assert row["gradient_norm"] > 0
        assert row["memory_mib"] > 10
        assert other == {**row, "iteration": step}
    assert [row["rate_heads"] for _, row in board.rows] == pytest.approx(
        [0.0, 5e-4, 1e-3, 1e-3 * (1 / 2) ** 0.9]
    )


def test_the_norm_of_the_gradients(tiny, tmp_path, backends, monkeypatch):
    """That of all gradients, before they are clipped (1e-5)."""
    norms = []
    step = engine.Float32.step

    def recorded(self, **options):
        grads = [p.grad for g in self.optimizer.param_groups for p in g["params"]]
        norms.append(
            float(torch.cat([g.flatten() for g in grads if g is not None]).double().norm())
        )
        step(self, **options)

    monkeypatch.setattr(engine.Float32, "step", recorded)
    optim = engine.OptimSettings(lr=1e-3, warmup=(2, 2), clip_norm=0.01)
    settings = tiny.settings(iterations=3, visualizers=("tensorboard",), optim=optim)
    train(tiny.model(), tiny.Clips(), settings, tmp_path, seed=0)
    (board,) = backends
    assert [row["gradient_norm"] for _, row in board.rows] == pytest.approx(norms, rel=1e-5)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_visualizer_that_is_not_installed(tiny, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(visualizers, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=f"visualizer '{name}' needs the package {name}"):
        train(tiny.model(), tiny.Clips(), tiny.settings(visualizers=(name,)), tmp_path, seed=0)


def test_tensorboard_reads_the_curves(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = tiny.settings(iterations=3, visualizers=("tensorboard",))
    train(tiny.model(), tiny.Clips(), settings, tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / LOSSES).open()]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss_mask")]
    assert found == [(x["step"], pytest.approx(x["loss_mask"], rel=1e-6)) for x in lines]


# Settings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ema": 1.0}, "ema is 1.0; it must be a decay"),
        ({"ema": -0.1}, "ema is -0.1"),
        ({"compile": "fast"}, "unknown compile mode 'fast'"),
        ({"visualizers": ("visdom",)}, "unknown visualizer 'visdom'"),
        ({"prefetch": 0}, "prefetch is 0; it must be at least 1"),
    ],
)
def test_settings_that_are_not_valid(change, words):
    with pytest.raises(BenchError, match=words):
        TrainSettings(1, 1, **change)
