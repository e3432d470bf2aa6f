"""The contrastive losses against plain loops over objects, frames and embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from training.identity_loops import (
    COUNTS,
    TOLERANCE,
    WIDTH,
    doubles,
    final,
    restated_identity,
    restated_prototypes,
    restated_references,
    values,
)

from videomt_bench.training.identity_losses import (
    contrastive,
    cosine_error,
    identity_loss,
    prototype_loss,
    reference_loss,
)

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


# Whole clips


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
