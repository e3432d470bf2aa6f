"""Semi-online and offline outputs against two passes written out, and what they may depend on."""

from __future__ import annotations

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.models.looking_ahead import LookingAhead

SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
FRAMES = 5


def model(name: str) -> VideoSegmenter:
    torch.manual_seed(0)
    return load_variant(name).build(SPEC).eval()


def clip() -> torch.Tensor:
    return torch.randn(2, FRAMES, 3, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["step6_videomt", "gru", "step3_no_reid"])
@torch.no_grad()
def test_offline_is_the_mean_of_both_passes(name: str) -> None:
    online, frames = model(name), clip()
    forwards, state = online(frames)
    backwards, _ = online(frames[:, :-1].flip(1), state)
    found, after = LookingAhead(online, None)(frames)
    for key in ("class_logits", "mask_logits"):
        there, back = getattr(forwards, key), getattr(backwards, key).flip(1)
        torch.testing.assert_close(getattr(found, key)[:, -1], there[:, -1], atol=1e-5, rtol=0)
        mean = (there[:, :-1] + back) / 2
        torch.testing.assert_close(getattr(found, key)[:, :-1], mean, atol=1e-5, rtol=0)
    following, _ = online(frames[:, :1], after)
    expected, _ = online(frames[:, :1], state)
    torch.testing.assert_close(following.class_logits, expected.class_logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_frame_knows_its_block_and_no_later_one() -> None:
    ahead, frames = LookingAhead(model("step6_videomt"), 1), clip()
    first, _ = ahead(frames)
    changed = frames.clone()
    changed[:, 3] += 1
    second, _ = ahead(changed)
    moved = (first.class_logits - second.class_logits).abs().amax((0, 2, 3))
    assert torch.equal(moved[:2], torch.zeros(2))
    assert (moved[2:] > 1e-4).all()


@torch.no_grad()
def test_nothing_ahead_is_the_online_model() -> None:
    online, frames = model("step6_videomt"), clip()
    expected, found = online(frames)[0], LookingAhead(online, 0)(frames)[0]
    torch.testing.assert_close(found.mask_logits, expected.mask_logits, atol=1e-6, rtol=0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BenchError, match="look-ahead of -1"):
        LookingAhead(model("step6_videomt"), -1)
    ahead = LookingAhead(model("step6_videomt"), 2)
    with pytest.raises(BenchError, match="takes clips"):
        ahead.step(clip()[:, 0], ahead.init_state(2))
