from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from videomt_bench.data.augment import Augmentation
from videomt_bench.data.clips import ClipTargets, TrainClips, collate
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import read_ytvis
from videomt_bench.models import ClipOutput
from videomt_bench.training.layers import LossSettings
from videomt_bench.training.losses import _uncertain_points, clip_losses

SETTINGS = LossSettings(num_points=16)
MATCHINGS = ("first_appearance", "per_frame")
TOLERANCE = dict(rel=1e-5, abs=1e-5)


def numbers(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}


def learned_classes(output: ClipOutput, losses: dict[str, Tensor]) -> Tensor:
    """The class target (B, T, Q) of the final layer: the one entry that the gradient raises."""
    (gradient,) = torch.autograd.grad(losses["loss_class"], output.class_logits, retain_graph=True)
    assert ((gradient < 0).sum(-1) == 1).all()
    return gradient.argmin(-1)


def single(
    present: list[bool], queries: int = 3, classes: int = 4
) -> tuple[ClipOutput, ClipTargets]:
    """One clip of one object of class 1, the left half; query 0 predicts it, with certainty."""
    seen = torch.tensor([present])
    masks = torch.zeros(1, len(present), 16, 16, dtype=torch.bool)
    masks[0, seen[0], :, :8] = True
    logits = torch.full((1, len(present), queries, 16, 16), -30.0)
    logits[0, :, 0][seen[0], :, :8] = 30.0
    output = ClipOutput(
        torch.zeros(1, len(present), queries, classes).requires_grad_(),
        logits.requires_grad_(),
        torch.zeros(()),
        torch.zeros(()),
    )
    return output, ClipTargets(torch.tensor([1]), masks, seen)


def test_constants_of_the_paper():
    assert LossSettings() == LossSettings(
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=112**2,
        oversample=3.0,
        importance=0.75,
    )


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize("seed", range(3))
def test_same_as_plain_loops(clips, restated, draws, matching, seed):
    """Every pair of a layer, an object and a frame has points of its own."""
    output, targets = clips(seed, (3, 0, 5, 2))
    losses = numbers(clip_losses(output, targets, matching, SETTINGS))
    costs, candidates, others = draws
    images = count()
    of_image = {
        (b, t): costs[next(images)]
        for b, t in np.ndindex(4, 4)
        if _matched_in(targets[b].present, t, matching)
    }
    pairs = restated.match(output, targets, matching, lambda b, t: of_image[b, t])
    row = {
        (layer, b, o, t): i
        for i, (layer, b, o, t) in enumerate(
            (layer, b, o, t)
            for layer in range(3)
            for b in range(4)
            for o, t in np.argwhere(pairs[b][0] >= 0).tolist()
        )
    }
    assert candidates.shape == (len(row), 48, 2)
    assert others.shape == (len(row), 4, 2)
    expected = restated.losses(
        output, targets, matching, pairs, lambda *at: (candidates[row[at]], others[row[at]])
    )
    assert losses == pytest.approx(expected, **TOLERANCE)


def _matched_in(present: Tensor, t: int, matching: str) -> bool:
    if matching == "per_frame":
        return bool(present[:, t].any())
    return bool((present[:, t] & ~present[:, :t].any(1)).any())


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize("queries", [1, 2, 4])
def test_same_as_plain_loops_with_fewer_queries_than_objects(
    clips, restated, same_points, matching, queries
):
    """Objects without a query still count in the normaliser."""
    output, targets = clips(queries, (5, 3, 0), queries)
    costs, candidates, others = map(same_points, (16, 48, 4))
    pairs = restated.match(output, targets, matching, lambda b, t: costs)
    expected = restated.losses(output, targets, matching, pairs, lambda *at: (candidates, others))
    losses = numbers(clip_losses(output, targets, matching, SETTINGS))
    assert losses == pytest.approx(expected, **TOLERANCE)


def test_the_order_of_clips_does_not_matter(clips, same_points):
    output, targets = clips(5, (2, 0, 4))
    order = [2, 0, 1]
    turned = ClipOutput(
        *(x[order] for x in (output.class_logits, output.mask_logits)),
        output.queries,
        output.embeddings,
    )
    output.intermediate = ()
    losses = numbers(clip_losses(output, targets, "first_appearance", SETTINGS))
    again = clip_losses(turned, [targets[i] for i in order], "first_appearance", SETTINGS)
    assert numbers(again) == pytest.approx(losses, **TOLERANCE)


@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        ("first_appearance", [[1, 3, 3]] * 4),
        ("per_frame", [[3] * 3, [1, 3, 3], [3] * 3, [1, 3, 3]]),
    ],
)
def test_the_class_holds_before_and_after_an_object(matching, expected):
    output, target = single([False, True, False, True])
    losses = clip_losses(output, [target], matching, SETTINGS)
    assert learned_classes(output, losses).tolist() == [expected]


def test_the_mask_target_is_empty_where_an_object_is_absent():
    output, target = single([False, True, False])
    output.mask_logits.detach().clamp_(-2, 2)
    losses = clip_losses(output, [target], "first_appearance", SETTINGS)
    for name in ("loss_mask", "loss_dice"):
        (gradient,) = torch.autograd.grad(losses[name], output.mask_logits, retain_graph=True)
        assert (gradient[0, :, 1:] == 0).all(), "queries without an object learn no mask"
        for t in (0, 2):
            assert (gradient[0, t, 0] >= 0).all()
            assert (gradient[0, t, 0] > 0).any()
        inside = gradient[0, 1, 0, 1:15, 1:7]
        assert (inside <= 0).all()
        assert (inside < 0).any()


@pytest.mark.parametrize(("matching", "num_masks"), [("first_appearance", 4), ("per_frame", 1)])
def test_absent_frames_count_among_the_masks(matching, num_masks):
    """Undecided logits cost log 2 in the one frame with the object; the others are right."""
    output, target = single([True, False, False, False])
    output.mask_logits.detach()[0, 0, 0] = 0.0
    losses = numbers(clip_losses(output, [target], matching, SETTINGS))
    assert losses["loss_mask"] == pytest.approx(5 * math.log(2) / num_masks, rel=1e-5)


def test_all_layers_count_alike(same_points):
    output, target = single([True, True])
    output.class_logits.detach()[0, 0, 0] = torch.tensor([1.0, -1.0, 2.0, 0.0])
    alone = numbers(clip_losses(output, [target], "first_appearance", SETTINGS))
    thrice = replace(output, intermediate=(output, output))
    together = numbers(clip_losses(thrice, [target], "first_appearance", SETTINGS))
    expected = {name: 3 * value for name, value in alone.items()}
    assert together == pytest.approx(expected, **TOLERANCE)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_the_last_intermediate_prediction_can_be_left_out(matching, same_points):
    output, target = single([True, True])
    wrong = replace(output, mask_logits=-output.mask_logits)
    settings = replace(SETTINGS, last_intermediate=False)
    without = clip_losses(
        replace(output, intermediate=(output, wrong)), [target], matching, settings
    )
    known = clip_losses(replace(output, intermediate=(output,)), [target], matching, SETTINGS)
    assert numbers(without) == pytest.approx(numbers(known), **TOLERANCE)
    alone = clip_losses(output, [target], matching, settings)
    assert numbers(alone) == pytest.approx(
        numbers(clip_losses(output, [target], matching, SETTINGS)), **TOLERANCE
    )


def test_no_object_counts_a_tenth_in_a_weighted_mean():
    output, target = single([True, False], queries=4)
    matched, unmatched = torch.tensor([0.0, 3.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0, 0.5])
    with torch.no_grad():
        output.class_logits[0, :, 0] = matched
        output.class_logits[0, :, 1:] = unmatched
    a = float(cross_entropy(matched, torch.tensor(1)))
    b = float(cross_entropy(unmatched, torch.tensor(3)))
    losses = numbers(clip_losses(output, [target], "first_appearance", SETTINGS))
    assert losses["loss_class"] == pytest.approx(2 * (2 * a + 0.6 * b) / 2.6, rel=1e-5)
    nothing = float(cross_entropy(matched, torch.tensor(3)))
    losses = numbers(clip_losses(output, [target], "per_frame", SETTINGS))
    assert losses["loss_class"] == pytest.approx(2 * (a + 0.1 * nothing + 0.6 * b) / 1.7, rel=1e-5)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_a_batch_without_objects_learns_no_object(clips, matching):
    output, targets = clips(0, (0, 0))
    losses = clip_losses(output, targets, matching, SETTINGS)
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    assert (learned_classes(output, losses) == 3).all()
    sum(losses.values()).backward()
    assert output.mask_logits.grad is not None, "a process group waits for every gradient"


def test_uncertain_points_are_the_least_certain_of_the_candidates(draws):
    maps = torch.randn(6, 1, 8, 8) * 4
    points = _uncertain_points(maps, SETTINGS)
    candidates, others = draws
    assert points.shape == (6, 16, 2)
    assert candidates.shape == (6, 48, 2)
    assert others.shape == (6, 4, 2)
    for n in range(6):
        certainty = _bilinear(maps[n], torch.from_numpy(candidates[n])).abs()
        expected = candidates[n][certainty.argsort()[:12].numpy()]
        found = points[n].double().numpy()
        assert {tuple(p) for p in found[:12]} == {tuple(p) for p in expected}
        np.testing.assert_array_equal(found[12:], others[n])


def _bilinear(image: Tensor, points: Tensor) -> Tensor:
    grid = (2 * points.float() - 1)[None, None]
    return torch.nn.functional.grid_sample(image[None], grid, align_corners=False)[0, 0, 0]


def test_points_of_the_paper():
    """37,632 candidates, 9,408 of them kept, 3,136 others."""
    logits = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    points = _uncertain_points(logits, LossSettings())
    assert points.shape == (1, 12544, 2)
    near = ((points[0, :, 0] - 0.5).abs() < 0.13).float()
    assert near[:9408].mean() > 0.97, "a quarter of the candidates lie that near the zero line"
    assert near[9408:].mean() == pytest.approx(0.26, abs=0.04)


@pytest.mark.parametrize("quirk", ["", "VidEoMT", "CAVIS"])
def test_labels_of_objects_that_are_gone_in_the_last_frame(tmp_path, quirk):
    """The official code learns them as the last class, in all frames, CAVIS's as no-object."""
    path = make_ytvis(tmp_path, GeneratorSettings(videos=1, frames=4, height=24, width=24))
    data = json.loads(path.read_text())
    gone, stays = data["annotations"][:2]
    for track, category in ((gone, 1), (stays, 2)):
        first = next(s for s in track["segmentations"] if s is not None)
        track.update(category_id=category, segmentations=[first] * 4, iscrowd=0)
    gone["segmentations"] = [*gone["segmentations"][:3], None]
    data["annotations"] = [gone, stays]
    path.write_text(json.dumps(data))
    index = read_ytvis(path, tmp_path / "train" / "JPEGImages")
    classes = len(index.categories)
    clip = TrainClips(index, 4, Augmentation(), seed=0, label_quirk=bool(quirk))[0]
    batch = collate([clip], 8)
    output = ClipOutput(
        torch.zeros(1, 4, 5, classes + 1).requires_grad_(),
        torch.randn(1, 4, 5, 6, 6).requires_grad_(),
        torch.zeros(()),
        torch.zeros(()),
    )
    settings = replace(SETTINGS, absent_as_no_object=quirk == "CAVIS")
    losses = clip_losses(output, batch.targets, "first_appearance", settings)
    learned = learned_classes(output, losses)[0]
    gone_as = {"": 0, "VidEoMT": classes - 1, "CAVIS": classes}[quirk]
    expected = sorted([1, gone_as, *[classes] * 3])
    assert [sorted(frame.tolist()) for frame in learned] == [expected] * 4
    assert (learned == learned[0]).all()
    (masks,) = torch.autograd.grad(losses["loss_mask"], output.mask_logits)
    taught = (masks != 0).flatten(3).any(3).sum(2)
    assert taught.tolist() == [[2] * 4], "its mask is learned in any case"
