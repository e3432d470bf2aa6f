"""Streams: frame by frame, in windows of any size or as a clip, alone or beside others."""

from __future__ import annotations

import pytest
import torch

from videomt_bench.models import (
    ClipOutput,
    EncoderSpec,
    ModelSpec,
    Variant,
    load_variant,
    load_variants,
)
from videomt_bench.runs.conformance import check_in_full

SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
FRAMES = 7
VARIANTS = load_variants()


def _same(a: ClipOutput, b: ClipOutput) -> None:
    torch.testing.assert_close(a.class_logits, b.class_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(a.mask_logits, b.mask_logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@torch.no_grad()
def test_any_window_gives_the_clip(variant: Variant) -> None:
    torch.manual_seed(0)
    model = variant.build(SPEC).eval()
    clip = torch.randn(2, FRAMES, 3, 48, 64)
    whole, _ = model(clip)
    for window in (1, 2, 3):
        state, parts = None, []
        for start in range(0, FRAMES, window):
            output, state = model(clip[:, start : start + window], state)
            parts.append(output)
        for name in ("class_logits", "mask_logits"):
            joined = torch.cat([getattr(p, name) for p in parts], 1)
            torch.testing.assert_close(joined, getattr(whole, name), atol=1e-5, rtol=0)


@torch.no_grad()
def test_interleaved_streams_do_not_meet() -> None:
    """One model serves two streams, also of different frame sizes; a hidden state would show."""
    torch.manual_seed(0)
    model = load_variant("step6_videomt").build(SPEC).eval()
    a, b = torch.randn(1, FRAMES, 3, 48, 48), torch.randn(1, FRAMES, 3, 64, 48)
    alone = [model(a)[0], model(b)[0]]
    states, outputs = [model.init_state(), model.init_state()], [[], []]
    for t in range(FRAMES):
        for i, clip in enumerate((a, b)):
            output, states[i] = model.step(clip[:, t], states[i])
            outputs[i].append(output)
    for expected, found in zip(alone, outputs, strict=True):
        _same(expected, ClipOutput.stack(found))


@torch.no_grad()
def test_the_frame_size_may_change_within_a_stream() -> None:
    model = load_variant("step6_videomt").build(SPEC).eval()
    _, state = model(torch.randn(1, 2, 3, 48, 48))
    output, _ = model(torch.randn(1, 1, 3, 64, 80), state)
    assert output.mask_logits.shape == (1, 1, 6, 16, 20)


@torch.no_grad()
def test_what_each_memory_lets_into_a_frame() -> None:
    clip = torch.randn(1, 2, 3, 48, 48)
    for name, expected in {
        "step4_frame_by_frame": lambda m, s: m.memory.learned.weight,
        "step5_propagation": lambda m, s: s.queries[0, 0],
        "step6_videomt": lambda m, s: m.memory.fuse(s.queries[0, 0]) + m.memory.learned.weight,
    }.items():
        model = load_variant(name).build(SPEC).eval()
        first = model.memory.queries(model.init_state().memory)
        assert torch.equal(first[0], model.memory.learned.weight)
        output, state = model(clip[:, :1])
        entered = model.memory.queries(state.memory)
        torch.testing.assert_close(entered[0], expected(model, output))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_the_gallery_conforms(variant: Variant) -> None:
    failed = [c for c in check_in_full(variant) if not c.passed]
    assert not failed


def test_conformance_sees_a_hidden_state() -> None:
    from videomt_bench.models import EoMT, QueryFusion

    class Hidden(QueryFusion):
        def init_state(self, batch):
            self.last = self.first_queries(batch)
            return batch

        def queries(self, state):
            return self.last

        def update(self, state, output):
            self.last = super().update(state, output)
            return state

    variant = Variant("hidden", EoMT.from_spec, Hidden, name="hidden")
    failed = {c.name for c in check_in_full(variant) if not c.passed}
    assert "detach cuts the graph" in failed
