"""Training of the decoupled steps: frozen parts, guidance, processes, resuming."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from videomt_bench.data.clips import collate
from videomt_bench.errors import BenchError
from videomt_bench.models import load_variant
from videomt_bench.models.video import VideoSegmenter
from videomt_bench.training import engine
from videomt_bench.training.engine import TrainingModel, TrainSettings, train
from videomt_bench.training.freezing import freeze, synchronize_batch_norm
from videomt_bench.training.hooks import CHECKPOINT, LOSSES
from videomt_bench.training.losses import clip_losses

STEPS = ("step0_cavis", "step1_eomt_segmenter", "step2_no_context", "step3_no_reid")
PARTS = ("segmenter", "memory", "tracker.appearance")
BASE = {"class", "mask", "dice"}
SEGMENTER = {"segmenter_class", "segmenter_mask", "segmenter_dice"}
IDENTITY = {"identity", "identity_cosine", "prototype", "prototype_cosine"}
REFERENCE = {"reference", "reference_cosine"}
LEARNED = {
    "step0_cavis": BASE | REFERENCE,
    "step1_eomt_segmenter": BASE | SEGMENTER | IDENTITY | REFERENCE,
    "step2_no_context": BASE | SEGMENTER | IDENTITY | REFERENCE,
    "step3_no_reid": BASE | SEGMENTER | REFERENCE,
}


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def image_stage(model: VideoSegmenter) -> VideoSegmenter:
    return VideoSegmenter(model.segmenter, model.memory, model.tracker.image_stage())


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / LOSSES).read_text().splitlines()]


def below(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


# What learns


@pytest.mark.parametrize("name", STEPS)
def test_the_video_stage_of_a_step(tiny, tmp_path, name):
    """What is frozen stays as it was, bit by bit, batch statistics included; the rest moves."""
    model, variant = tiny.model(name), load_variant(name)
    before = weights(model)
    settings = tiny.settings(iterations=4, matching=variant.matching, frozen=variant.frozen)
    train(model, tiny.Clips(), settings, tmp_path, seed=0)
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {key.removeprefix("loss_") for key in lines[0]} - {"loss", "step"} == LEARNED[name]
    after = weights(model)
    parameters = dict(model.named_parameters())
    for key, value in after.items():
        assert value.isfinite().all()
        if below(key, variant.frozen):
            assert torch.equal(value, before[key]), key
        elif key in parameters and parameters[key].requires_grad:
            assert not torch.equal(value, before[key]), key
    assert all(parameter.requires_grad for parameter in parameters.values())


@pytest.mark.parametrize("name", STEPS[:3])
def test_the_image_stage_of_a_step(tiny, tmp_path, name):
    """Segmenter and identities learn together, from single frames' predictions."""
    model = image_stage(tiny.model(name))
    before = weights(model)
    settings = tiny.settings(iterations=4, matching="per_frame")
    train(model, tiny.Clips(), settings, tmp_path, seed=0)
    lines = log(tmp_path)
    assert {key.removeprefix("loss_") for key in lines[0]} - {"loss", "step"} == BASE | IDENTITY
    for key, _ in model.named_parameters():
        assert not torch.equal(model.state_dict()[key], before[key]), key


@pytest.mark.parametrize("frozen", [(), ("segmenter", "memory"), PARTS])
@pytest.mark.parametrize("name", STEPS[:2])
def test_gradients_reach_what_learns_and_nothing_else(tiny, name, frozen):
    model, clips = tiny.awake(tiny.model(name)), tiny.Clips(objects=2)
    batch = collate([clips[0], clips[1]], 8)
    with freeze(model, frozen) as modules:
        trained = TrainingModel(model, "first_appearance", tiny.settings().losses, modules)
        sum(trained.train()(batch).values()).backward()
    for key, parameter in model.named_parameters():
        if below(key, frozen):
            assert parameter.grad is None, key
        else:
            assert parameter.grad.isfinite().all(), key
            assert (parameter.grad != 0).any(), key


def test_a_frozen_segmenter_is_in_evaluation_mode_and_builds_no_graph(tiny, tmp_path):
    """In every iteration, though mmengine sets the model to training before each."""
    model = tiny.model("step0_cavis")
    batch_norms = [m for m in model.segmenter.modules() if isinstance(m, nn.BatchNorm2d)]
    assert batch_norms
    seen = []

    def look(segmenter, arguments, output):
        layers = any(m.training for m in segmenter.modules())
        graph = output.class_logits.requires_grad or output.mask_logits.requires_grad
        seen.append((layers, graph, len(output.intermediate)))
        return output

    decode = model.segmenter.decode
    model.segmenter.decode = lambda *a: look(model.segmenter, a, decode(*a))
    modes = []
    model.tracker.heads.register_forward_hook(lambda m, *_: modes.append(m.training))
    train(model, tiny.Clips(), tiny.settings(iterations=3, frozen=PARTS), tmp_path, seed=0)
    assert seen == [(False, False, 0)] * 9
    assert modes
    assert all(modes)
    assert all(m.num_batches_tracked == 0 for m in batch_norms)
    model.train()
    assert all(m.training for m in batch_norms)


def test_an_unfrozen_segmenter_keeps_batch_statistics(tiny, tmp_path):
    model = tiny.model("step0_cavis")
    train(model, tiny.Clips(), tiny.settings(iterations=3), tmp_path, seed=0)
    found = {int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert found == {3}


def test_what_was_frozen_before_stays_so(tiny, tmp_path):
    """After an error too."""
    model = tiny.model("step1_eomt_segmenter")
    model.segmenter.class_head.weight.requires_grad_(False)
    settings = tiny.settings(frozen=("segmenter", "memory.learned.weight"))
    with pytest.raises(tiny.Stop):
        train(model, tiny.Clips(stop=6), settings, tmp_path, seed=0)
    still = {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    assert still == {"segmenter.class_head.weight"}


@pytest.mark.parametrize("part", ["segment", "tracker.appearances", "learned", ""])
def test_a_part_that_is_not_there(tiny, tmp_path, part):
    model = tiny.model("step1_eomt_segmenter")
    with pytest.raises(BenchError, match="memory, segmenter, tracker") as caught:
        train(model, tiny.Clips(), tiny.settings(frozen=("memory", part)), tmp_path, seed=0)
    assert str(caught.value).startswith(f"cannot freeze {part!r}, which the model does not have")
    assert "\n" not in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_nothing_left_to_learn(tiny, tmp_path):
    model = tiny.model("step1_eomt_segmenter")
    frozen = ("segmenter", "memory", "tracker")
    with pytest.raises(BenchError, match="nothing learns with segmenter, memory, tracker frozen"):
        train(model, tiny.Clips(), tiny.settings(frozen=frozen), tmp_path, seed=0)
    assert all(parameter.requires_grad for parameter in model.parameters())


# Guidance


@pytest.mark.parametrize(("guided", "steps"), [(0.0, 0), (0.5, 6), (0.6, 8), (1.0, 12)])
def test_the_first_iterations_are_guided(tiny, tmp_path, monkeypatch, guided, steps):
    """Counted in optimizer steps, two micro-batches each, and also where a training continues."""
    seen: list[bool] = []
    clips = tiny.Clips(stop=16)

    def losses(*arguments):
        seen.append(arguments[4])
        return clip_losses(*arguments)

    monkeypatch.setattr(engine, "clip_losses", losses)
    settings = tiny.settings(per_device=1, guided=guided, frozen=PARTS[:2])
    with pytest.raises(tiny.Stop):
        train(tiny.model(STEPS[3]), clips, settings, tmp_path, seed=0)
    clips.stop = None
    del seen[12:]
    train(tiny.model(STEPS[3]), clips, settings, tmp_path, seed=0)
    assert seen == [micro < 2 * steps for micro in range(24)]


@pytest.mark.parametrize("guided", [-0.1, 1.1, float("nan")])
def test_guided_is_a_share(guided):
    with pytest.raises(BenchError, match="must be a share from 0 to 1"):
        TrainSettings(1, 1, guided=guided)


# Resuming and processes


def test_resumed_is_unbroken(tiny, tmp_path):
    """Bit by bit, over the end of the guidance, with frozen batch statistics."""
    settings = tiny.settings(iterations=8, frozen=PARTS)
    whole, again = tiny.model("step0_cavis"), tiny.model("step0_cavis")
    train(whole, tiny.Clips(), settings, tmp_path / "whole", seed=0)
    with pytest.raises(tiny.Stop):
        train(again, tiny.Clips(stop=8), settings, tmp_path / "again", seed=0)
    assert torch.load(tmp_path / "again" / CHECKPOINT, weights_only=True)["meta"]["iter"] == 3
    again = tiny.model("step0_cavis")
    train(again, tiny.Clips(), settings, tmp_path / "again", seed=0)
    found = weights(again)
    assert all(torch.equal(value, found[key]) for key, value in weights(whole).items())
    assert log(tmp_path / "again") == log(tmp_path / "whole")


def test_two_processes_one_without_objects(tmp_path):
    """Neither waits for a gradient of the other for ever, and both end with the same weights.

    In the image stage of step 1 identities learn by their losses alone.
    """
    program = [sys.executable, str(Path(__file__).with_name("rank_process.py")), str(tmp_path)]
    processes = [subprocess.Popen([*program, str(rank), STEPS[1]]) for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_batch_norm_of_processes(tiny):
    """The layers of step 0 become synchronised ones of the same names, values and parameters."""
    model = tiny.model("step0_cavis")
    before, parameters = weights(model), {id(p) for p in model.parameters()}
    count = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    synchronize_batch_norm(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert {id(p) for p in model.parameters()} == parameters
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) == count > 0
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    with torch.no_grad():
        model.eval()(torch.randn(1, 2, 3, 32, 32))
