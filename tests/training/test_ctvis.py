"""The contrastive loss with a memory of tracklets (2.2), by hand and by plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import ClipTargets
from videomt_bench.training import tracklet_loss as module
from videomt_bench.training.layers import LossSettings
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.tracklet_loss import fuse, tracklet_loss

T, Q, E = 5, 6, 4


def targets_of(present: list[list[int]]) -> ClipTargets:
    there = torch.tensor(present, dtype=torch.bool)
    masks = there[..., None, None].expand(-1, -1, 2, 2)
    return ClipTargets(torch.zeros(len(there), dtype=torch.long), masks, there)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def restated(
    identity: Tensor, query: Tensor, seen: Tensor, remembered: bool
) -> tuple[float, float]:
    """One clip: for each object, a memory that is filled frame by frame."""
    mains, cosines = [], []
    for o in range(len(query)):
        memory: list[Tensor] = []
        fused, last = torch.zeros(E), -1
        for t in range(identity.shape[0]):
            q = int(query[o, t])
            if q < 0 or not seen[o, t]:
                continue
            anchor = identity[t, q]
            if memory:
                positive = fused if remembered else memory[-1]
                slot = int(query[o, last])
                negatives = [identity[last, j] for j in range(Q) if j != slot]
                gaps = [float(anchor @ n - anchor @ positive) for n in negatives]
                mains.append(math.log(1 + sum(math.exp(g) for g in gaps)))
                errors = [(cosine(anchor, positive) - 1) ** 2]
                errors += [cosine(anchor, n) ** 2 for n in negatives]
                cosines.append(sum(errors) / len(errors))
                beta = max(0.0, sum(cosine(anchor, m) for m in memory) / len(memory))
                fused = (1 - beta) * fused + beta * anchor
            else:
                fused = anchor
            memory.append(anchor)
            last = t
    count = max(1, len(mains))
    return sum(mains) / count, sum(cosines) / count


PRESENT = [[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
QUERY = torch.tensor([[0, 0, 3, 3, 1], [-1, 2, -1, 0, 2], [-1, -1, -1, 5, -1], [4, -1, -1, -1, 4]])


@pytest.mark.parametrize("remembered", [False, True])
def test_a_clip_as_restated(remembered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that stay, that come back, that are seen once, that change their query."""
    monkeypatch.setattr(module, "REMEMBERED", 1.1 if remembered else 0.0)
    identity = torch.randn(1, T, Q, E, generator=torch.Generator().manual_seed(0))
    targets = targets_of(PRESENT)
    main, error = tracklet_loss(identity, [targets], [QUERY])
    expected = restated(identity[0], QUERY, targets.present, remembered)
    assert (float(main), float(error)) == pytest.approx(expected, rel=1e-4)


def test_half_of_the_positives_are_remembered() -> None:
    """An object seen three times has one item whose two kinds of positive differ."""
    torch.manual_seed(0)
    identity = torch.randn(1, 3, Q, E)
    targets, query = targets_of([[1, 1, 1]]), torch.tensor([[0, 1, 2]])
    found = [float(tracklet_loss(identity, [targets], [query])[0]) for _ in range(400)]
    seen = targets.present
    kinds = [restated(identity[0], query, seen, remembered)[0] for remembered in (False, True)]
    assert kinds[0] != pytest.approx(kinds[1], rel=1e-3)
    near = [min((abs(x - k), i) for i, k in enumerate(kinds)) for x in found]
    assert max(distance for distance, _ in near) < 1e-4
    assert sum(i for _, i in near) == pytest.approx(200, abs=40)


def test_the_value_of_the_facts() -> None:
    """One anchor, s+ = 2 and s- = {1, 0}: 0.407606 (1.9)."""
    identity = torch.zeros(1, 2, 3, 2)
    identity[0, 0] = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    identity[0, 1, 1] = torch.tensor([1.0, 0.0])
    main, _ = tracklet_loss(identity, [targets_of([[1, 1]])], [torch.tensor([[0, 1]])])
    assert float(main) == pytest.approx(0.407606, abs=1e-6)


def test_fusion_is_guided_by_similarity() -> None:
    """An embedding unlike all before it changes nothing; one like them enters fully."""
    x = torch.tensor([1.0, 0.0])
    assert torch.equal(fuse([x, -x])[1], x)
    assert torch.allclose(fuse([x, 3 * x])[1], 3 * x)
    half = torch.tensor([1.0, math.sqrt(3.0)])
    first, second, third = fuse([x, half, x])
    assert torch.equal(first, x)
    assert torch.allclose(second, 0.5 * x + 0.5 * half)
    # the mean cosine of x to x and to half is 3/4
    assert torch.allclose(third, 0.25 * second + 0.75 * x)


def test_absent_objects_and_other_clips() -> None:
    """A mean over the items of all clips; without any a zero that gradients reach."""
    identity = torch.randn(2, T, Q, E, requires_grad=True)
    nothing = targets_of([[0, 1, 0, 0, 0]])
    once = torch.tensor([[-1, 2, -1, -1, -1]])
    main, error = tracklet_loss(identity, [nothing, nothing], [once, once])
    (main + error).backward()
    assert main.item() == error.item() == 0.0
    assert identity.grad is not None
    assert not identity.grad.any()
    torch.manual_seed(0)
    both = tracklet_loss(identity, [targets_of(PRESENT), nothing], [QUERY, once])
    torch.manual_seed(0)
    alone = tracklet_loss(identity[:1], [targets_of(PRESENT)], [QUERY])
    assert [float(x) for x in both] == pytest.approx([float(x) for x in alone])


def test_gradients_reach_anchor_positive_and_negatives() -> None:
    identity = torch.randn(1, 2, Q, E, requires_grad=True)
    query = torch.tensor([[0, 3]])
    main, _ = tracklet_loss(identity, [targets_of([[1, 1]])], [query])
    main.backward()
    assert identity.grad is not None
    reached = identity.grad[0].abs().sum(-1) > 0
    assert reached[0].all(), "all queries of the frame in which the object was last seen"
    assert reached[1].tolist() == [False, False, False, True, False, False]


def test_the_setting_chooses_the_loss(tiny, clips, monkeypatch) -> None:
    output, targets = clips(0, (3, 2))
    output.identity = torch.randn(2, 4, 5, E, requires_grad=True)
    settings = LossSettings(num_points=16)
    plain = clip_losses(output, targets, "per_frame", settings)
    memory = clip_losses(output, targets, "per_frame", LossSettings(num_points=16, tracklets=True))
    assert plain.keys() == memory.keys()
    assert float(plain["loss_identity"]) != pytest.approx(float(memory["loss_identity"]), rel=1e-3)
