"""Whole videos through an offline model: in windows and small memory as all frames at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import YTVISIndex, locate_ytvis, read_ytvis
from videomt_bench.errors import BenchError
from videomt_bench.evaluation import stream
from videomt_bench.evaluation.inference import predict_videos
from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import EncoderSpec, ModelSpec, OfflineVideo, VideoSegmenter, load_variant
from videomt_bench.models.postprocess import class_map, confident_queries, top_k

SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
BASE = InferenceSettings(short_side=None, divisor=8, top_k=8, window=3)
OFFLINE = ["dvis_offline", "dvis_plus_offline", "cavis_offline"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> YTVISIndex:
    root = tmp_path_factory.mktemp("data")
    make_ytvis(root, GeneratorSettings(videos=3, frames=7, height=40, width=52, split="valid"))
    return read_ytvis(*locate_ytvis(root, "valid"))


def model_of(name: str) -> VideoSegmenter:
    torch.manual_seed(0)
    return load_variant(name).build(SPEC).eval()


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("change", [{}, {"window": 1}, {"window": 7}, {"buffer_mib": 0}])
@torch.no_grad()
def test_as_all_frames_at_once(name: str, change: dict[str, int], index: YTVISIndex) -> None:
    """Two videos side by side, other queries kept of each."""
    model, videos, settings = model_of(name), index.videos[:2], replace(BASE, **change)
    frames = torch.stack(
        [stream.normalize(stream.load_video_frames(v, index.frames_root, range(7))) for v in videos]
    )
    whole, _ = OfflineVideo(model)(stream.pad_to_multiple(frames, 8))
    assert whole.source is not None
    found = stream.run_videos(model, videos, index.frames_root, settings)
    torch.testing.assert_close(found.class_logits, whole.class_logits[:, 0], atol=1e-5, rtol=1e-4)
    assert found.online is not None
    mean = whole.source.class_logits.mean(1)
    torch.testing.assert_close(found.online, mean, atol=1e-5, rtol=1e-4)
    queries = [torch.tensor([3, 0, 5]), torch.tensor([2])]
    read = list(found.masks(queries))
    assert len(read) == 7
    for t, masks in enumerate(read):
        for b, kept in enumerate(queries):
            expected = whole.mask_logits[b, t, kept]
            torch.testing.assert_close(masks[b], expected, atol=1e-4, rtol=1e-4)


def test_what_is_held_does_not_grow_beyond_the_buffer(
    index: YTVISIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mask features of the first window are held, those of the others are made again."""
    model, started = model_of("dvis_plus_offline"), list[int]()
    window = stream._Stream.window

    def watched(self, start, state):
        started.append(start)
        return window(self, start, state)

    monkeypatch.setattr(stream._Stream, "window", watched)
    asked = list[int]()
    to_refine = model.tracker.to_refine
    monkeypatch.setattr(
        model.tracker, "to_refine", lambda output: asked.append(1) or to_refine(output)
    )
    width = model.segmenter.dim
    per_window = 3 * width * 10 * 14 * 4 / 2**20
    settings = replace(BASE, buffer_mib=1.5 * per_window)
    outputs = stream.run_videos(model, index.videos[:1], index.frames_root, settings)
    assert len(list(outputs.masks([torch.arange(6)]))) == 7
    assert started == [0, 3, 6, 3, 6]
    assert len(asked) == 3, "tracks are kept once"


def test_predictions_of_a_split_are_those_of_the_refiner(index: YTVISIndex) -> None:
    model = model_of("dvis_plus_offline")

    def predicted(settings: InferenceSettings) -> list[object]:
        arguments = index.videos, index.frames_root, index.categories, settings
        return list(predict_videos(model, *arguments))

    found = predicted(BASE)
    assert found == predicted(replace(BASE, buffer_mib=0))
    with torch.no_grad():
        for parameter in model.refiner.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    assert found != predicted(BASE)


def two_predictors() -> tuple[Tensor, Tensor, Tensor]:
    refined, online = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(3)) * 2
    larger = torch.stack([refined.softmax(-1), online.softmax(-1)]).amax(0)
    return refined, online, larger


def test_a_class_has_the_larger_of_both_probabilities() -> None:
    """In all three tasks (1.8)."""
    refined, online, larger = two_predictors()
    best = top_k(refined, 5, online)
    expected = sorted(
        ((float(larger[q, c]), c, q) for q in range(6) for c in range(4)), reverse=True
    )[:5]
    assert best.scores.tolist() == pytest.approx([s for s, _, _ in expected])
    assert list(zip(best.labels.tolist(), best.queries.tolist(), strict=True)) == [
        (c, q) for _, c, q in expected
    ]
    kept = confident_queries(refined, 0.5, online)
    scores, labels = larger.max(-1)
    wanted = [q for q in range(6) if labels[q] < 4 and scores[q] > 0.5]
    assert kept.queries.tolist() == wanted
    assert kept.labels.tolist() == labels[wanted].tolist()
    masks = torch.rand(6, 3, 4)
    votes = sum(larger[q, :4, None, None] * masks[q] for q in range(6))
    assert torch.equal(class_map(masks, refined, online), votes.argmax(0))  # type: ignore[union-attr]


def test_a_refiner_and_a_pass_backwards_are_not_both() -> None:
    with pytest.raises(BenchError, match="look_ahead is None; with a refiner"):
        stream.prepared(model_of("dvis_plus_offline"), replace(BASE, look_ahead=None))
