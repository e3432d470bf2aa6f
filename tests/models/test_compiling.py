"""Compiled streams: the same outputs, static shapes, and failures that are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.models.compiling import CompiledVideo

SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)


def model(name: str) -> VideoSegmenter:
    torch.manual_seed(0)
    return load_variant(name).build(SPEC).eval()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the frames that enter the graphs that are compiled; graphs run eagerly."""
    seen: list[tuple[int, ...]] = []

    def backend(graph: Any, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        frames = [x for x in inputs if x.dim() == 4 and x.shape[1] == 3 and x.shape[2] > 3]
        seen.extend(tuple(x.shape) for x in frames)
        return graph

    original = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, mode, dynamic: original(f, backend=backend, dynamic=dynamic)
    )
    torch._dynamo.reset()
    return seen


@pytest.mark.parametrize("name", ["step6_videomt", "frame_by_frame_matched"])
def test_windows_of_a_stream_are_those_of_the_plain_model(name: str, graphs: list) -> None:
    plain, video = model(name), torch.randn(1, 7, 3, 48, 64)
    compiled = CompiledVideo(plain, "default").eval()
    states: list[Any] = [None, None]
    with torch.no_grad():
        for start in (0, 3, 6):
            window = video[:, start : start + 3]
            expected, states[0] = plain(window, states[0])
            found, states[1] = compiled(window, states[1])
            assert found.mask_logits.shape == expected.mask_logits.shape
            torch.testing.assert_close(found.class_logits, expected.class_logits)
            torch.testing.assert_close(found.mask_logits, expected.mask_logits)
    # the last window, of one frame, did not compile the encoder anew
    assert graphs == [(3, 3, 48, 64)]


def test_another_size_is_compiled_once(graphs: list) -> None:
    compiled = CompiledVideo(model("step6_videomt"), "default").eval()
    with torch.no_grad():
        for size in ((48, 64), (64, 48), (48, 64), (64, 48)):
            compiled(torch.randn(1, 2, 3, *size))
    assert sorted(graphs) == [(2, 3, 48, 64), (2, 3, 64, 48)]


def test_a_failed_compilation_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no such kernel")

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: original(f, backend=broken))
    compiled = CompiledVideo(model("step6_videomt"), "default").eval()
    with pytest.raises(BenchError, match=r"'default' failed: .*no such kernel"), torch.no_grad():
        compiled(torch.randn(1, 1, 3, 48, 48))


def test_an_unknown_mode() -> None:
    with pytest.raises(BenchError, match=r"'fast'.*reduce-overhead"):
        CompiledVideo(model("step6_videomt"), "fast")
