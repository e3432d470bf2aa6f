"""The contrastive losses against plain loops over objects, frames and embeddings."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models import ClipOutput
from videomt_bench.training import losses as losses_module
from videomt_bench.training.identity_losses import (
    contrastive,
    cosine_error,
    identity_loss,
    prototype_loss,
    reference_loss,
)
from videomt_bench.training.layers import LayerPredictions, LossSettings
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.matching import match, match_guided

SETTINGS = LossSettings(num_points=16)
COUNTS = (3, 0, 5, 2, 1)
WIDTH = 6
TOLERANCE = dict(rel=1e-5, abs=1e-5)
BASE = {"loss_class", "loss_mask", "loss_dice"}
SEGMENTER = {"loss_segmenter_class", "loss_segmenter_mask", "loss_segmenter_dice"}
IDENTITY = {"loss_identity", "loss_identity_cosine"}
PROTOTYPE = {"loss_prototype", "loss_prototype_cosine"}
REFERENCE = {"loss_reference", "loss_reference_cosine"}


# The terms of one anchor


def test_the_value_of_the_specification():
    """One anchor, its positive at 2, negatives at 1 and 0: 0.407606."""
    anchor, samples = torch.tensor([[1.0]]), torch.tensor([[2.0], [1.0], [0.0]])
    positive = torch.tensor([[True, False, False]])
    assert contrastive(anchor, samples, positive).item() == pytest.approx(0.407606, abs=1e-6)


def test_every_negative_meets_every_positive():
    anchors = torch.tensor([[1.0], [2.0]])
    samples = torch.tensor([[0.5], [-1.0], [0.25], [3.0]])
    positive = torch.tensor([[True, True, False, False], [False, True, True, False]])
    first = sum(math.exp(n - p) for p in (0.5, -1.0) for n in (0.25, 3.0))
    second = sum(math.exp(2 * (n - p)) for p in (-1.0, 0.25) for n in (0.5, 3.0))
    expected = [math.log1p(first), math.log1p(second)]
    assert contrastive(anchors, samples, positive).tolist() == pytest.approx(expected, rel=1e-6)


def test_cosines_of_positives_are_one_and_others_none():
    anchors, samples = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 3.0], [0.0, 5.0], [-1, 0]])
    positive = torch.tensor([[True, False, False]])
    expected = ((math.sqrt(0.5) - 1) ** 2 + 0 + 1) / 3
    assert cosine_error(anchors, samples, positive).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("positive", [True, False])
def test_an_anchor_without_negatives_or_without_positives_costs_nothing(positive):
    x = torch.randn(2, 3, requires_grad=True)
    loss = contrastive(x, x, torch.full((2, 2), positive)).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss == 0
    assert (gradient == 0).all()


def test_large_products_stay_numbers():
    """exp(20000) is none in float32."""
    x = torch.tensor([[100.0], [-100.0]], requires_grad=True)
    swapped = torch.tensor([[False, True], [True, False]])
    values = contrastive(x, x, swapped)
    assert values.tolist() == pytest.approx([20000.0, 20000.0])
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert gradient.isfinite().all()
    assert contrastive(x, x, ~swapped).tolist() == [0.0, 0.0]


# Plain loops


def restated_item(
    anchors: list[np.ndarray], positives: list[np.ndarray], negatives: list[np.ndarray]
) -> np.ndarray:
    """Section 1.9: both terms of one item."""
    main, cosines = 0.0, []
    for a in anchors:
        main += math.log(1 + sum(math.exp(a @ n - a @ p) for p in positives for n in negatives))
        for samples, label in ((positives, 1), (negatives, 0)):
            for s in samples:
                cosine = a @ s / np.linalg.norm(a) / np.linalg.norm(s)
                cosines.append((cosine - label) ** 2)
    return np.array([main, np.mean(cosines)])


def mean_of_items(items: list[np.ndarray]) -> list[float]:
    return (sum(items) / len(items)).tolist() if items else [0.0, 0.0]


def restated_objects(clips: list[dict[int, list[np.ndarray]]]) -> list[float]:
    """An item per object of each clip: its embeddings against those of all others."""
    items = []
    for embeddings in clips:
        for o, own in embeddings.items():
            others = [e for p, group in embeddings.items() if p != o for e in group]
            items.append(restated_item(own, own, others))
    return mean_of_items(items)


def doubles(x: Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def restated_identity(identity: np.ndarray, targets: list[ClipTargets], queries) -> list[float]:
    clips = []
    for b, target in enumerate(targets):
        found: dict[int, list[np.ndarray]] = {}
        for o in range(len(target.labels)):
            for t in range(identity.shape[1]):
                q = int(queries[b][o, t])
                if q >= 0:
                    name = o if target.present[o, t] else -1
                    found.setdefault(name, []).append(identity[b, t, q])
        clips.append(found)
    return restated_objects(clips)


def resize(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear at the centres of the new pixels, without smoothing."""
    rows, columns = (
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for new, old in zip((height, width), mask.shape, strict=True)
    )
    weight = np.maximum(0, 1 - abs(rows[:, None] - np.arange(mask.shape[0])))
    other = np.maximum(0, 1 - abs(columns[:, None] - np.arange(mask.shape[1])))
    return weight @ mask @ other.T


def restated_prototypes(features: np.ndarray, targets: list[ClipTargets]) -> list[float]:
    clips = []
    for b, target in enumerate(targets):
        found: dict[int, list[np.ndarray]] = {}
        for o in range(len(target.labels)):
            for t in range(features.shape[1]):
                mask = resize(target.masks[o, t].double().numpy(), *features.shape[-2:])
                if mask.sum() > 0:
                    mean = (features[b, t] * mask).sum((1, 2)) / mask.sum()
                    found.setdefault(o, []).append(mean)
        if len(target.labels) >= 2 and len(found) == len(target.labels):
            clips.append(found)
    return restated_objects(clips)


def restated_references(reference: np.ndarray, queries) -> list[float]:
    items = []
    for b, references in enumerate(reference):
        later = references[1:]
        for i in range(1, len(later)):
            for q in {int(x) for x in queries[b][:, i + 1]} - {-1}:
                for j in (i - 1, i + 1):
                    if j < len(later):
                        others = [later[j][k] for k in range(later.shape[1]) if k != q]
                        items.append(restated_item([later[i][q]], [later[j][q]], others))
    return mean_of_items(items)


def values(terms: tuple[Tensor, Tensor]) -> list[float]:
    return [float(term.detach()) for term in terms]


def final(output: ClipOutput, targets: list[ClipTargets], matching: str) -> list[Tensor]:
    found = match(LayerPredictions.of(output), targets, matching, SETTINGS)
    return [queries[-1] for queries in found]


@pytest.mark.parametrize("counts", [COUNTS, (0, 0), (1,), (5, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_identities_as_plain_loops(clips, seed, counts):
    """Objects that come late, leave, return; an embedding learns where its object is visible."""
    output, targets = clips(seed, counts)
    queries = final(output, targets, "per_frame")
    identity = torch.randn(len(counts), 4, 5, WIDTH, requires_grad=True)
    terms = identity_loss(identity, targets, queries)
    expected = restated_identity(doubles(identity), targets, queries)
    assert values(terms) == pytest.approx(expected, **TOLERANCE)
    (gradient,) = torch.autograd.grad(sum(terms), identity)
    for b, query in enumerate(queries):
        learns = {(t, int(query[o, t])) for o, t in (query >= 0).nonzero().tolist()}
        found = {(t, q) for t, q in gradient[b].abs().sum(-1).nonzero().tolist()}
        assert found == learns if counts[b] > 1 else found <= learns


@pytest.mark.parametrize("counts", [COUNTS, (0, 1), (5, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_prototypes_as_plain_loops(clips, seed, counts):
    _, targets = clips(seed, counts)
    features = torch.randn(len(counts), 4, WIDTH, 8, 6)
    terms = prototype_loss(features, targets)
    expected = restated_prototypes(doubles(features), targets)
    assert values(terms) == pytest.approx(expected, **TOLERANCE)
    assert (values(terms) == [0, 0]) == (max(counts) < 2)


@pytest.mark.parametrize("missing", ["no pixel", "between the pixels of the features"])
def test_a_clip_with_an_object_without_pixels_has_no_prototypes(clips, missing):
    _, targets = clips(0, (3, 2))
    targets[1].masks[1] = False
    if missing != "no pixel":
        targets[1].masks[1, 0, 0, 0] = True
    features = torch.randn(2, 4, WIDTH, 4, 4)
    terms = values(prototype_loss(features, targets))
    assert terms == values(prototype_loss(features[:1], targets[:1]))
    assert terms == pytest.approx(restated_prototypes(doubles(features), targets), **TOLERANCE)
    assert values(prototype_loss(features[1:], targets[1:])) == [0, 0]


@pytest.mark.parametrize("counts", [COUNTS, (0, 0)])
@pytest.mark.parametrize("matching", ["first_appearance", "per_frame"])
@pytest.mark.parametrize("seed", range(2))
def test_references_as_plain_loops(clips, seed, counts, matching):
    output, targets = clips(seed, counts)
    queries = final(output, targets, matching)
    reference = torch.randn(len(counts), 4, 5, WIDTH, requires_grad=True)
    terms = reference_loss(reference, queries)
    expected = restated_references(doubles(reference), queries)
    assert values(terms) == pytest.approx(expected, **TOLERANCE)
    (gradient,) = torch.autograd.grad(sum(terms), reference)
    assert (gradient[:, 0] == 0).all(), "the first frame looks for nothing"
    assert (gradient[:, 1:] != 0).any() == (max(counts) > 0)


@pytest.mark.parametrize("length", [1, 2])
def test_two_frames_have_no_references_to_compare(length):
    reference = torch.randn(1, length, 5, WIDTH, requires_grad=True)
    terms = reference_loss(reference, [torch.zeros(1, length, dtype=torch.long)])
    assert values(terms) == [0, 0]
    assert (torch.autograd.grad(sum(terms), reference)[0] == 0).all()


def test_nothing_to_learn_from_is_zero_with_a_gradient(clips):
    """A process group waits for every gradient."""
    output, targets = clips(0, (0, 0))
    queries = final(output, targets, "per_frame")
    for terms, x in (
        (lambda x: identity_loss(x, targets, queries), torch.randn(2, 4, 5, WIDTH)),
        (lambda x: prototype_loss(x, targets), torch.randn(2, 4, WIDTH, 4, 4)),
        (lambda x: reference_loss(x, queries), torch.randn(2, 4, 5, WIDTH)),
    ):
        x = x.half().requires_grad_()
        for term in terms(x):
            assert term == 0
            assert term.dtype == torch.float32
            (gradient,) = torch.autograd.grad(term, x, retain_graph=True)
            assert (gradient == 0).all()


# All losses of an output


@pytest.fixture
def tracked(clips):
    """(seed, counts) -> an output of a tracker with everything that learns, and its targets."""

    def make(seed: int, counts: tuple[int, ...] = COUNTS) -> tuple[ClipOutput, list[ClipTargets]]:
        source, targets = clips(seed, counts)
        output, _ = clips(seed + 100, counts)
        batch = len(counts)
        orders = [torch.randperm(5) for _ in range(batch * 4)]
        output = replace(
            output,
            identity=torch.randn(batch, 4, 5, WIDTH, requires_grad=True),
            reference=torch.randn(batch, 4, 5, WIDTH, requires_grad=True),
            mask_features=torch.randn(batch, 4, WIDTH, 8, 8, requires_grad=True),
            order=torch.stack(orders).view(batch, 4, 5),
            source=source,
        )
        return output, targets

    return make


def numbers(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}


def test_what_a_tracker_learns_and_by_which_matching(tracked, same_points):
    """Output: first appearance; source: per frame; identities by the source's final layer."""
    output, targets = tracked(0)
    settings = replace(
        SETTINGS,
        identity_weight=3.0,
        identity_cosine_weight=0.5,
        prototype_weight=1.5,
        prototype_cosine_weight=0.25,
        reference_weight=0.75,
        reference_cosine_weight=7.0,
    )
    losses = numbers(clip_losses(output, targets, "first_appearance", settings))
    bare = replace(output, identity=None, reference=None, mask_features=None, source=None)
    expected = numbers(clip_losses(bare, targets, "first_appearance", settings))
    own = numbers(clip_losses(output.source, targets, "per_frame", settings))
    expected |= {name.replace("loss_", "loss_segmenter_"): value for name, value in own.items()}
    frames = final(output.source, targets, "per_frame")
    slots = final(output, targets, "first_appearance")
    for name, weights, terms in (
        ("identity", (3.0, 0.5), restated_identity(doubles(output.identity), targets, frames)),
        ("prototype", (1.5, 0.25), restated_prototypes(doubles(output.mask_features), targets)),
        ("reference", (0.75, 7.0), restated_references(doubles(output.reference), slots)),
    ):
        expected[f"loss_{name}"] = weights[0] * terms[0]
        expected[f"loss_{name}_cosine"] = weights[1] * terms[1]
    assert losses == pytest.approx(expected, **TOLERANCE)
    assert set(losses) == BASE | SEGMENTER | IDENTITY | PROTOTYPE | REFERENCE


def frozen(output: ClipOutput) -> ClipOutput:
    """A source as a frozen segmenter gives it: without a graph and intermediate predictions."""
    return replace(
        output,
        class_logits=output.class_logits.detach(),
        mask_logits=output.mask_logits.detach(),
        intermediate=(),
    )


def test_only_what_learns_has_losses(tracked):
    output, targets = tracked(0)

    def names(**changes) -> set[str]:
        return set(clip_losses(replace(output, **changes), targets, "first_appearance", SETTINGS))

    still = dict(
        source=frozen(output.source),
        identity=output.identity.detach(),
        mask_features=output.mask_features.detach(),
    )
    assert names(**still) == BASE | REFERENCE
    assert names(**still, reference=output.reference.detach()) == BASE
    assert names(**{**still, "source": output.source}) == BASE | SEGMENTER | REFERENCE
    assert names(**{**still, "identity": output.identity}) == BASE | IDENTITY | REFERENCE
    assert names(identity=None) == BASE | SEGMENTER | REFERENCE
    assert names(reference=None) == BASE | SEGMENTER | IDENTITY | PROTOTYPE


@pytest.mark.parametrize("matching", ["first_appearance", "per_frame"])
def test_the_image_stage_matches_identities_frame_by_frame(tracked, same_points, matching):
    """No tracker predicts anew there: the output's own final layer is matched."""
    output, targets = tracked(1)
    output = replace(output, source=None, reference=None, order=None)
    losses = numbers(clip_losses(output, targets, matching, SETTINGS))
    queries = final(output, targets, "per_frame")
    expected = restated_identity(doubles(output.identity), targets, queries)
    assert [losses["loss_identity"], losses["loss_identity_cosine"]] == pytest.approx(
        [2 * x for x in expected], **TOLERANCE
    )
    assert set(losses) == BASE | IDENTITY | PROTOTYPE


def test_identities_of_a_frozen_segmenter_are_matched_too(tracked, same_points):
    output, targets = tracked(2)
    output = replace(output, source=frozen(output.source))
    losses = numbers(clip_losses(output, targets, "first_appearance", SETTINGS))
    queries = final(output.source, targets, "per_frame")
    expected = restated_identity(doubles(output.identity), targets, queries)
    assert losses["loss_identity"] == pytest.approx(2 * expected[0], **TOLERANCE)


@pytest.mark.parametrize(("matching", "source", "expected"), [
    ("per_frame", False, 1), ("first_appearance", False, 2), ("first_appearance", True, 2),
])  # fmt: skip
def test_matching_is_shared(tracked, monkeypatch, matching, source, expected):
    """Once for each of the output and the segmenter, however many losses need it."""
    output, targets = tracked(0)
    output = output if source else replace(output, source=None)
    calls = count()
    monkeypatch.setattr(losses_module, "match", lambda *a: (next(calls), match(*a))[1])
    clip_losses(output, targets, matching, SETTINGS)
    assert next(calls) == expected


def test_absent_objects_as_one_identity(tracked, same_points):
    """As in the official code, on request: all of them attract each other."""
    output, targets = tracked(0)
    settings = replace(SETTINGS, pseudo_identity=True)
    losses = numbers(clip_losses(output, targets, "first_appearance", settings))
    seen = [replace(t, present=torch.ones_like(t.present)) for t in targets]
    queries = final(output.source, seen, "per_frame")
    assert all((q >= 0).all() for q in queries)
    expected = restated_identity(doubles(output.identity), targets, queries)
    assert losses["loss_identity"] == pytest.approx(2 * expected[0], **TOLERANCE)
    plain = numbers(clip_losses(output, targets, "first_appearance", SETTINGS))
    assert abs(losses["loss_identity"] - plain["loss_identity"]) > 1e-3
    changed = {name for name in losses if losses[name] != pytest.approx(plain[name], **TOLERANCE)}
    assert changed == IDENTITY


@pytest.mark.parametrize("name", ["identity", "prototype", "reference"])
def test_a_term_without_weights_is_off(tracked, monkeypatch, name):
    """Zero, with a gradient, and without the work."""
    output, targets = tracked(0)
    monkeypatch.setattr(losses_module, f"{name}_loss", lambda *_: pytest.fail("computed"))
    off = {f"{name}_weight": 0.0, f"{name}_cosine_weight": 0.0}
    losses = clip_losses(output, targets, "first_appearance", replace(SETTINGS, **off))
    x = output.mask_features if name == "prototype" else getattr(output, name)
    for term in (losses[f"loss_{name}"], losses[f"loss_{name}_cosine"]):
        assert term == 0
        assert (torch.autograd.grad(term, x)[0] == 0).all()


def test_everything_that_learns_gets_a_gradient(tracked):
    output, targets = tracked(0)
    sum(clip_losses(output, targets, "first_appearance", SETTINGS).values()).backward()
    layers = [*output.intermediate, output, *output.source.intermediate, output.source]
    tensors = [x for p in layers for x in (p.class_logits, p.mask_logits)]
    for x in (*tensors, output.identity, output.reference, output.mask_features):
        assert x.grad.isfinite().all()
        assert (x.grad != 0).any()


@pytest.mark.parametrize("counts", [(0,), (0, 0), (1,)])
@pytest.mark.parametrize("guided", [False, True])
def test_clips_without_objects_have_finite_losses(tracked, counts, guided):
    output, targets = tracked(0, counts)
    losses = clip_losses(output, targets, "first_appearance", SETTINGS, guided)
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    for x in (output.identity, output.reference, output.mask_features, output.mask_logits):
        assert x.grad.isfinite().all()


# Guidance


@pytest.mark.parametrize("seed", range(3))
def test_guidance_is_matching_of_the_reordered_source(tracked, restated, same_points, seed):
    """Brute force over the segmenter's final predictions in slot order, for all layers."""
    output, targets = tracked(seed)
    points = same_points(16)
    source = output.source
    ordered = ClipOutput(
        source.class_logits.detach().clone(),
        source.mask_logits.detach().clone(),
        source.queries,
        source.embeddings,
    )
    for b, t, q in np.ndindex(*output.order.shape):
        ordered.class_logits[b, t, q] = source.class_logits[b, t, output.order[b, t, q]].detach()
        ordered.mask_logits[b, t, q] = source.mask_logits[b, t, output.order[b, t, q]].detach()
    expected = restated.match(ordered, targets, "first_appearance", lambda b, t: points)
    found = match_guided(output, targets, "first_appearance", SETTINGS)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape[0] == 3
        np.testing.assert_array_equal(ours.numpy(), np.broadcast_to(theirs, ours.shape))


def test_guidance_changes_the_losses_of_the_output_only(tracked, restated, same_points):
    output, targets = tracked(3)
    guided = numbers(clip_losses(output, targets, "first_appearance", SETTINGS, True))
    free = numbers(clip_losses(output, targets, "first_appearance", SETTINGS, False))
    pairs = [q.numpy() for q in match_guided(output, targets, "first_appearance", SETTINGS)]
    points = same_points(48), same_points(4)
    expected = restated.losses(output, targets, "first_appearance", pairs, lambda *at: points)
    assert {name: guided[name] for name in BASE} == pytest.approx(expected, **TOLERANCE)
    references = restated_references(doubles(output.reference), [p[-1] for p in pairs])
    assert guided["loss_reference"] == pytest.approx(2 * references[0], **TOLERANCE)
    assert all(abs(guided[name] - free[name]) > 1e-4 for name in ("loss_class", "loss_mask"))
    for name in SEGMENTER | IDENTITY | PROTOTYPE:
        assert guided[name] == pytest.approx(free[name], **TOLERANCE)


def test_without_a_source_nothing_guides(tracked, same_points):
    output, targets = tracked(0)
    output = replace(output, source=None)
    free = numbers(clip_losses(output, targets, "first_appearance", SETTINGS, False))
    assert numbers(clip_losses(output, targets, "first_appearance", SETTINGS, True)) == free
