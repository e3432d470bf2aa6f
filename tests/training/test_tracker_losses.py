"""All losses of an output with a tracker: what learns, by which matching, and guidance."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor
from training.identity_loops import (
    COUNTS,
    SETTINGS,
    TOLERANCE,
    WIDTH,
    doubles,
    final,
    restated_identity,
    restated_prototypes,
    restated_references,
)

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models import ClipOutput
from videomt_bench.training import losses as losses_module
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.matching import match, match_guided

BASE = {"loss_class", "loss_mask", "loss_dice"}
SEGMENTER = {"loss_segmenter_class", "loss_segmenter_mask", "loss_segmenter_dice"}
IDENTITY = {"loss_identity", "loss_identity_cosine"}
PROTOTYPE = {"loss_prototype", "loss_prototype_cosine"}
REFERENCE = {"loss_reference", "loss_reference_cosine"}


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
