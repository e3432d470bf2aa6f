"""Track queries: born, kept, doubled, absent and ended, and a set that varies between streams."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from videomt_bench.models import (
    EncoderSpec,
    EoMT,
    FrameOutput,
    Mask2Former,
    ModelSpec,
    SlotSizes,
    TrackQueries,
    TrackRules,
    TrackSlots,
    Variant,
    VideoSegmenter,
)
from videomt_bench.models.conformance import check_variant

D, Q = 4, 3
SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)


def variant(segmenter: type[EoMT] | type[Mask2Former], score: float) -> Variant:
    """By rules under which a model of random weights has some tracks."""
    rules = TrackRules(score=score, overlap=0.95)
    memory, tracker = (partial(part, rules=rules) for part in (TrackQueries, TrackSlots))
    return Variant("eager", segmenter.from_spec, memory, tracker, name="eager")


def output(scores: list[list[float]], boxes: list[list[tuple[int, int]]]) -> FrameOutput:
    """Queries with a probability of their one class and a mask on some columns of 16."""
    p = torch.tensor(scores)
    logits = torch.stack([p.log(), (1 - p).log()], -1)
    masks = torch.full((*p.shape, 16, 16), -5.0)
    for b, row in enumerate(boxes):
        for q, (start, stop) in enumerate(row):
            masks[b, q, :, start:stop] = 5.0
    numbers = torch.arange(p.numel(), dtype=torch.float32).reshape(*p.shape, 1)
    queries = numbers.expand(-1, -1, D)
    return FrameOutput(logits, masks, queries, queries)


def memory() -> TrackQueries:
    torch.manual_seed(0)
    return TrackQueries(SlotSizes(Q, D, 1), TrackRules(patience=2))


APART = [(0, 4), (4, 8), (8, 12)]


def test_a_track_is_born_kept_and_ended() -> None:
    bank = memory()
    state = bank.init_state(1)
    assert torch.equal(bank.queries(state)[0], bank.learned.weight)
    state = bank.update(state, output([[0.9, 0.5, 0.1]], [APART]))
    assert state.active.tolist() == [[True, False, False]]
    entered = bank.queries(state)[0]
    assert torch.equal(entered[:Q], bank.learned.weight)
    assert entered[Q:].tolist() == [[0.0] * D]
    assert bank.slots(state).tolist() == [[0, 1, 2, 0]]
    # the track, query 3, is what slot 0 is; its detection, query 0, counts no more
    state = bank.update(state, output([[0.9, 0.1, 0.1, 0.85]], [[*APART, (12, 16)]]))
    assert state.queries[0, 0, 0] == 3
    for absent, active in ((1, True), (0, False)):
        state = bank.update(state, output([[0.9, 0.1, 0.1, 0.3]], [[*APART, (12, 16)]]))
        assert bool(state.active[0, 0]) is active
        assert state.absent[0, 0] == 1 or not absent
    state = bank.update(state, output([[0.9, 0.1, 0.1]], [APART]))
    assert state.active[0].tolist() == [True, False, False]


def test_a_double_is_dropped_and_a_track_goes_before_a_detection() -> None:
    bank = memory()
    state = bank.update(bank.init_state(1), output([[0.85, 0.1, 0.1]], [APART]))
    # query 1 detects what the track of slot 0, query 3, has; query 2 detects something else
    seen = output([[0.1, 0.99, 0.9, 0.82]], [[(0, 4), (0, 4), (8, 12), (0, 4)]])
    state = bank.update(state, seen)
    assert state.active.tolist() == [[True, False, True]]


def test_streams_have_as_many_tracks_as_they_have() -> None:
    bank = memory()
    seen = output([[0.9, 0.1, 0.9], [0.1, 0.9, 0.1]], [APART, APART])
    state = bank.update(bank.init_state(2), seen)
    assert bank.slots(state).tolist() == [[0, 1, 2, 0, 2], [0, 1, 2, 1, -1]]


def clip() -> torch.Tensor:
    """Three frames of two streams that a random model sees otherwise."""
    noise = torch.randn(2, 3, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    return noise * torch.tensor([0.1, 10.0]).view(2, 1, 1, 1, 1)


def model(segmenter: type[EoMT] | type[Mask2Former], score: float) -> VideoSegmenter:
    torch.manual_seed(0)
    return variant(segmenter, score).build(SPEC).eval()


@pytest.mark.parametrize("segmenter", [EoMT, Mask2Former])
@torch.no_grad()
def test_streams_of_another_number_of_tracks_do_not_mix(
    segmenter: type[EoMT] | type[Mask2Former],
) -> None:
    for score in (0.22 + 0.01 * i for i in range(40)):
        both, state = model(segmenter, score)(clip())
        assert torch.equal(state.memory.active, state.tracker[0])
        if 0 < state.memory.active.sum(1).min() < state.memory.active.sum(1).max():
            break
    else:
        pytest.fail("no stream is padded, so nothing would be shown")
    for i in range(2):
        alone, _ = model(segmenter, score)(clip()[i : i + 1])
        torch.testing.assert_close(alone.mask_logits[0], both.mask_logits[i], atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.class_logits[0], both.class_logits[i], atol=1e-5, rtol=0)


@pytest.mark.parametrize("segmenter", [EoMT, Mask2Former])
def test_the_contract_holds_with_tracks(segmenter: type[EoMT] | type[Mask2Former]) -> None:
    assert [c for c in check_variant(variant(segmenter, 0.28)) if not c.passed] == []


@pytest.mark.parametrize("segmenter", [EoMT, Mask2Former])
@torch.no_grad()
def test_padding_is_not_seen(segmenter: type[EoMT] | type[Mask2Former]) -> None:
    torch.manual_seed(0)
    model = segmenter.from_spec(SPEC).eval()
    features = model.encode(torch.randn(1, 3, 48, 48))
    queries = torch.randn(1, 8, model.dim)
    slots = torch.tensor([[0, 1, 2, 3, 4, 5, 2, -1]])
    with_padding = model.decode(features, queries, slots)
    without = model.decode(features, queries[:, :7], slots[:, :7])
    torch.testing.assert_close(
        with_padding.mask_logits[:, :7], without.mask_logits, atol=1e-5, rtol=0
    )
    seen = model.decode(features, queries, slots.clamp(min=0))
    assert (seen.mask_logits[:, :7] - without.mask_logits).abs().max() > 1e-4
