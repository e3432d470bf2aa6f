"""However a batch is shared by processes and micro-batches, the step is that of the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videomt_bench.data.clips import ClipBatch, ClipTargets
from videomt_bench.training import engine
from videomt_bench.training.engine import train
from videomt_bench.training.hooks import LOSSES
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.sharing import HostGroup, Sharing, StreamSampler

MATCHINGS = ("first_appearance", "per_frame")


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / LOSSES).open()]


def assert_equal_losses(ours, theirs, count: int) -> None:
    assert [line["step"] for line in ours] == list(range(1, count + 1))
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-7)
    assert ours[0]["loss"] != pytest.approx(ours[-1]["loss"], rel=1e-2), "nothing was learned"


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize("counts", [(3, 1, 0, 2), (0, 0, 0, 0)])
def test_the_mean_over_parts_is_the_loss_of_the_whole(tiny, clips, same_points, matching, counts):
    """Losses and gradients of micro-batches of unequal objects (1e-6)."""
    output, targets = clips(0, counts)
    settings = tiny.settings().losses
    whole = clip_losses(output, targets, matching, settings)
    wanted = torch.autograd.grad(sum(whole.values()), output.class_logits, retain_graph=True)[0]
    present = [target.present for target in targets]
    first, frame = sum(p.numel() for p in present), sum(int(p.sum()) for p in present)
    totals = {"first_appearance": first / 4, "per_frame": frame / 4}
    parts = []
    for b in range(4):
        part = type(output)(
            output.class_logits[b : b + 1],
            output.mask_logits[b : b + 1],
            *[torch.zeros(())] * 2,
            tuple(
                type(layer)(layer.class_logits[b : b + 1], layer.mask_logits[b : b + 1])
                for layer in output.intermediate
            ),
        )
        parts.append(clip_losses(part, targets[b : b + 1], matching, settings, False, totals))
    for name, value in whole.items():
        mean = sum(float(part[name].detach()) for part in parts) / 4
        assert mean == pytest.approx(float(value.detach()), rel=1e-6, abs=1e-7)
    together = sum(sum(part.values()) for part in parts) / 4
    found = torch.autograd.grad(together, output.class_logits)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_totals_are_of_all_micro_batches_and_processes():
    """Two processes of two micro-batches: means over the four of them."""

    def batch(present) -> ClipBatch:
        seen = torch.tensor(present, dtype=torch.bool).reshape(-1, 2)
        masks = torch.zeros(len(seen), 2, 8, 8, dtype=torch.bool)
        target = ClipTargets(torch.zeros(len(seen)).long(), masks, seen)
        return ClipBatch(torch.zeros(1, 2, 3, 8, 8), [target])

    class Two(HostGroup):
        size = 2

        def __init__(self) -> None:
            pass

        def sum(self, value):
            return value + torch.tensor([4, 3, 2])  # the other process has two objects

    sharing = Sharing(StreamSampler(1), 2, False, 0, Two())
    shares = [s for _, s in sharing.step(0, [batch([[1, 0], [1, 1]]), batch([])])]
    totals = {"first_appearance": 2.0, "per_frame": 1.5, "whole_clip": 1.0}
    assert [s.totals for s in shares] == [totals] * 2
    assert [s.seeds for s in shares] == [None, None]


def test_one_process_alone_has_nothing_to_share(tiny, tmp_path, monkeypatch):
    """Its losses are computed as ever, and its points come from the one stream."""
    seen = []

    def losses(*arguments):
        seen.append(arguments[5:7])
        return clip_losses(*arguments)

    monkeypatch.setattr(engine, "clip_losses", losses)
    train(tiny.model(), tiny.Clips(), tiny.settings(iterations=2), tmp_path, seed=0)
    assert [(totals, points.generators) for totals, points in seen] == [(None, None)] * 2


@pytest.mark.parametrize("per_device", [1, 2])
def test_micro_batches_train_as_a_whole_batch(tiny, tmp_path, per_device):
    """Clips of unequal objects and sizes, AdamW, random points: equal losses (1e-5)."""
    for name, share in (("whole", None), ("parts", per_device)):
        settings = tiny.settings(iterations=8, batch=4, per_device=share, exact_sharing=True)
        train(tiny.model(), tiny.UnequalClips(), settings, tmp_path / name, seed=0)
    assert_equal_losses(log(tmp_path / "parts"), log(tmp_path / "whole"), 8)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """What two processes leave that train 20 iterations, and then with a clip that is no number."""
    folder = tmp_path_factory.mktemp("pair")
    # not forked: a process that has trained cannot fork one that trains
    program = [sys.executable, str(Path(__file__).with_name("rank_process.py")), str(folder)]
    processes = [subprocess.Popen([*program, str(rank)]) for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return folder


def test_two_processes_train_as_one_for_twenty_iterations(tiny, tmp_path, pair):
    """float32, AdamW, unequal clips: losses equal to 1e-5, at every iteration; one process logs."""
    settings = tiny.settings(iterations=20, batch=4, exact_sharing=True)
    train(tiny.model(), tiny.UnequalClips(), settings, tmp_path, seed=0)
    assert_equal_losses(log(pair / "both"), log(tmp_path), 20)


def test_processes_share_the_samples_and_end_with_the_same_weights(pair):
    results = [torch.load(pair / f"{rank}.pth", weights_only=True) for rank in range(2)]
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())
    read = [json.loads((pair / f"{rank}.json").read_text()) for rank in range(2)]
    assert [samples[:4] for samples in read] == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert [len(samples) for samples in read] == [40, 40]


def test_all_processes_say_whose_loss_is_no_number(pair):
    """The clip of one is bad: both stop, after the same iteration, with one sentence."""
    texts = [(pair / f"{rank}.txt").read_text() for rank in range(2)]
    assert texts[0] == texts[1]
    assert "iteration 5: process 1: loss_class is nan" in texts[0]
    assert "process 0" not in texts[0]
    assert "of iteration 4, is" in texts[0]
