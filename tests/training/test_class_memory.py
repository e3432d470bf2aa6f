"""What the refiner's contrastive loss remembers of earlier iterations, also after a resume."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import ClipTargets, collate
from videomt_bench.errors import BenchError
from videomt_bench.models import OfflineVideo
from videomt_bench.training import class_memory
from videomt_bench.training.class_memory import CLASS_MEMORY, ClassMemory, ClassMemoryHook
from videomt_bench.training.engine import TrainingModel, train
from videomt_bench.training.hooks import CHECKPOINT, LOSSES
from videomt_bench.training.identity_losses import refined_loss
from videomt_bench.training.layers import LossSettings
from videomt_bench.training.losses import clip_losses

ONLINE = ("segmenter", "memory", "tracker")
SETTINGS = LossSettings(num_points=12, refined_weight=2.0)


def targets(*labels: list[int]) -> list[ClipTargets]:
    """Of clips whose masks do not matter."""
    return [
        ClipTargets(torch.tensor(own), torch.zeros(len(own), 1, 1, 1), torch.ones(len(own), 1))
        for own in labels
    ]


def tracks(seed: int) -> Tensor:
    """Two clips of three frames and four tracks, of width 5."""
    return torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def item(anchor: Tensor, positives: list[Tensor], negatives: list[Tensor]) -> Tensor:
    gaps = [(anchor @ n - anchor @ p).exp() for n in negatives for p in positives]
    return (1 + sum(gaps)).log()


def restated(x: Tensor, pairs: list[list[tuple[int, int]]], known: dict[int, list[Tensor]]):
    """Plain loops; ``pairs`` has (track, class) of the objects of each clip."""
    items = []
    for b, objects in enumerate(pairs):
        for q, label in objects:
            own = [x[b, s, q] for s in range(x.shape[1])]
            for t, anchor in enumerate(own):
                others = [x[b, t, j] for j in range(x.shape[2]) if j != q]
                items.append(item(anchor, own, others))
                if known.get(label):
                    items.append(item(anchor, own, known[label]))
    for b, objects in enumerate(pairs):
        for q, label in objects:
            known.setdefault(label, []).extend(x[b, s, q].detach() for s in range(x.shape[1]))
    return sum(items) / len(items)


def test_as_plain_loops_over_three_iterations() -> None:
    """The first has nothing to remember; class 2 is new in the second; a lost object is none."""
    memory, known = ClassMemory(100), {}
    for seed, (labels, queries, pairs) in enumerate(
        [
            ([[1, 1, 0], [1]], [[2, -1, 0], [1]], [[(2, 1), (0, 0)], [(1, 1)]]),
            ([[2, 0], [1, 1]], [[3, 1], [0, 2]], [[(3, 2), (1, 0)], [(0, 1), (2, 1)]]),
            ([[2], []], [[0], []], [[(0, 2)], []]),
        ]
    ):
        x = tracks(seed)
        found = refined_loss(
            x,
            [torch.tensor(q, dtype=torch.long).view(-1, 1) for q in queries],
            targets(*labels),
            memory,
        )
        expected = restated(x, pairs, known)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
        gradients = [torch.autograd.grad(loss, x)[0] for loss in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    for label, embeddings in known.items():
        assert torch.equal(memory.of(label), torch.stack(embeddings))
    assert not memory.of(1).requires_grad
    assert memory.of(5) is None


def test_without_a_memory_or_with_an_empty_one_it_is_the_same() -> None:
    x, queries = tracks(0), [torch.tensor([[2], [0]]), torch.tensor([[1]])]
    plain = refined_loss(x, queries)
    assert torch.equal(plain, refined_loss(x, queries, targets([1, 0], [1]), ClassMemory(20)))
    nothing = [torch.full((1, 1), -1)] * 2
    memory = ClassMemory(20)
    assert refined_loss(x, nothing, targets([1], [0]), memory).item() == 0.0
    assert memory.state_dict() == {}


def test_a_full_class_keeps_a_random_choice() -> None:
    """Of old and new ones alike; of other classes nothing is lost."""
    kept = torch.zeros(12)
    for seed in range(400):
        torch.manual_seed(seed)
        memory = ClassMemory(4)
        memory.remember([(7, torch.full((4, 1), -1.0))])
        memory.remember([(3, torch.arange(4.0)[:, None])])
        memory.remember([(3, torch.arange(4.0, 9)[:, None]), (3, torch.arange(9.0, 12)[:, None])])
        held = memory.of(3)
        assert held.shape == (4, 1)
        assert len(held.unique()) == 4
        kept[held[:, 0].long()] += 1
        assert torch.equal(memory.of(7), torch.full((4, 1), -1.0))
    # each has a chance of a third: 133 of 400, with a deviation of 9.4
    assert (kept - 400 / 3).abs().max() < 5 * 9.4


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 20),
        ({"class_memory": 3}, 3),
        ({"class_memory": 0}, None),
        ({"refined_weight": 0.0}, None),
    ],
)
def test_who_remembers(tiny, changes: dict[str, Any], size: int | None) -> None:
    settings = replace(SETTINGS, **changes)
    memory = TrainingModel(tiny.model("dvis_plus_offline"), "whole_clip", settings).memory
    assert (memory and memory.size) == size
    assert TrainingModel(tiny.model(), "first_appearance", settings).memory is None


def test_the_training_model_hands_it_to_the_loss(tiny) -> None:
    model = OfflineVideo(tiny.awake(tiny.model("dvis_plus_offline")))
    batch = collate([tiny.Clips(objects=2)[0]], 8)
    trained = TrainingModel(model, "whole_clip", SETTINGS).train()
    torch.manual_seed(0)
    first = trained(batch)["loss_refined"]
    labels = batch.targets[0].labels.tolist()
    assert sorted(trained.memory.state_dict()) == sorted(set(labels))
    torch.manual_seed(0)
    second = trained(batch)["loss_refined"]
    torch.manual_seed(0)
    output, _ = model(batch.frames)
    plain = clip_losses(output, batch.targets, "whole_clip", SETTINGS)["loss_refined"]
    assert first.item() == pytest.approx(plain.item(), rel=1e-5)
    assert abs(second.item() - first.item()) > 1e-3


def test_a_negative_size_is_one_sentence() -> None:
    with pytest.raises(BenchError, match="class_memory is -1; it must be a number of embeddings"):
        LossSettings(class_memory=-1)


# A resumed training


def learn(tiny, folder: Path, stop: int | None = None):
    losses = LossSettings(num_points=16, refined_weight=2.0, class_memory=4)
    settings = tiny.settings(iterations=8, matching="whole_clip", frozen=ONLINE, losses=losses)
    model = OfflineVideo(tiny.model("dvis_plus_offline"))
    train(model, tiny.Clips(objects=2, stop=stop), settings, folder, seed=0)
    return model


def same(model, other) -> bool:
    a, b = model.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def ended_early(tiny, tmp_path_factory) -> Path:
    """A training that ended in its sixth iteration, two after a checkpoint."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(tiny.Stop):
        learn(tiny, folder, stop=10)
    return folder


@pytest.fixture
def interrupted(ended_early: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ended_early, tmp_path / "interrupted"))


def change(folder: Path, **parts: Any) -> None:
    checkpoint = torch.load(folder / CHECKPOINT, weights_only=True)
    torch.save({k: v for k, v in {**checkpoint, **parts}.items() if v is not None},
               folder / CHECKPOINT)  # fmt: skip


def test_a_resumed_training_is_the_unbroken_one(tiny, interrupted: Path, tmp_path: Path) -> None:
    """To the bit; without what is remembered it would be another."""
    whole = learn(tiny, tmp_path / "whole")
    emptied = Path(shutil.copytree(interrupted, tmp_path / "emptied"))
    (state,) = torch.load(interrupted / CHECKPOINT, weights_only=True)[CLASS_MEMORY]
    assert {len(held) for held in state.values()} == {4}
    resumed = learn(tiny, interrupted)
    assert same(whole, resumed)
    log = (tmp_path / "whole" / LOSSES).read_text()
    assert (interrupted / LOSSES).read_text() == log
    assert len({json.loads(line)["loss_refined"] for line in log.splitlines()}) == 8
    change(emptied, class_memory=[{}])
    assert not same(whole, learn(tiny, emptied))


def test_a_checkpoint_without_it_is_one_sentence(tiny, interrupted: Path) -> None:
    change(interrupted, class_memory=None)
    with pytest.raises(BenchError, match=r"checkpoint\.pth: it holds no class_memory; remove the"):
        learn(tiny, interrupted)


def test_every_process_gets_its_own_back(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [{0: torch.full((2, 1), float(rank))} for rank in range(2)]

    class Group:
        def gather(self, value):
            return [states[0], value]

    own = ClassMemory(20)
    own.load_state_dict(states[1], torch.device("cpu"))
    hook, checkpoint = ClassMemoryHook(own, Group(), torch.device("cpu")), {}
    hook.before_checkpoint(None)
    hook.before_save_checkpoint(None, checkpoint)
    assert [float(state[0][0]) for state in checkpoint[CLASS_MEMORY]] == [0.0, 1.0]
    for rank, expected in ((0, 0.0), (1, 1.0), (2, 0.0), (3, 1.0)):
        monkeypatch.setattr(class_memory, "get_rank", lambda rank=rank: rank)
        again = ClassMemory(20)
        restoring = ClassMemoryHook(again, Group(), torch.device("cpu"))
        restoring.after_load_checkpoint(None, checkpoint)
        assert again.of(0).tolist() == [[expected]] * 2
