"""Whole videos: windows, batches and the mask buffer change no number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import YTVISIndex, locate_ytvis, read_ytvis
from videomt_bench.errors import BenchError
from videomt_bench.evaluation import stream
from videomt_bench.evaluation.inference import predict_videos
from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant, load_variants

SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
BASE = InferenceSettings(short_side=None, divisor=8, top_k=8, window=3)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> YTVISIndex:
    root = tmp_path_factory.mktemp("data")
    make_ytvis(root, GeneratorSettings(videos=3, frames=7, height=40, width=52, split="valid"))
    return read_ytvis(*locate_ytvis(root, "valid"))


def _model(name: str) -> VideoSegmenter:
    torch.manual_seed(0)
    return load_variant(name).build(SPEC)


def _predict(model: VideoSegmenter, index: YTVISIndex, settings: InferenceSettings) -> list[object]:
    return list(predict_videos(model, index.videos, index.frames_root, index.categories, settings))


@pytest.mark.parametrize("name", [v.name for v in load_variants()])
def test_a_video_that_does_not_fit_the_buffer(name: str, index: YTVISIndex) -> None:
    """Masks computed again from the stored state are those that would have been held."""
    model, one = _model(name), replace(index, videos=index.videos[:1])
    assert _predict(model, one, replace(BASE, buffer_mib=0)) == _predict(model, one, BASE)


def test_dropped_masks_are_computed_again_from_where_they_were(
    index: YTVISIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, started = _model("step6_videomt"), []
    window = stream._Stream.window

    def watched(self, start, state):
        started.append(start)
        return window(self, start, state)

    monkeypatch.setattr(stream._Stream, "window", watched)
    # three frames of 6 query embeddings and 5 × 7 pixels of 96 channels, in float32
    per_window = 3 * (6 + 5 * 7) * 96 * 4 / 2**20
    settings = replace(BASE, buffer_mib=1.5 * per_window)
    outputs = stream.run_videos(model.eval(), index.videos[:1], index.frames_root, settings)
    assert len(list(outputs.masks([torch.arange(6)]))) == 7
    assert started == [0, 3, 6, 3, 6]


@pytest.mark.parametrize("change", [{"window": 1}, {"window": 7}, {"batch": 3}])
def test_windows_and_batches(change: dict[str, int], index: YTVISIndex) -> None:
    model = _model("step6_videomt")
    one, other = _predict(model, index, BASE), _predict(model, index, replace(BASE, **change))
    for a, b in zip(one, other, strict=True):
        assert (a.video_id, a.category_id) == (b.video_id, b.category_id)
        assert a.score == pytest.approx(b.score, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_deferred_masks_are_those_of_the_whole_model(
    batch: int, index: YTVISIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only some queries, another number in each video, against all masks made at once."""
    model = _model("step6_videomt").eval()
    videos, settings = index.videos[:batch], replace(BASE, batch=batch)
    queries = [torch.tensor(q, dtype=torch.long) for q in ([3, 0, 5], [], [2])][:batch]
    deferred = stream.run_videos(model, videos, index.frames_root, settings)
    assert model.defers_masks
    found = [[x.clone() for x in frame] for frame in deferred.masks(queries)]
    monkeypatch.setattr(type(model), "defers_masks", False)
    whole = stream.run_videos(model, videos, index.frames_root, settings)
    torch.testing.assert_close(deferred.class_logits, whole.class_logits, atol=1e-6, rtol=0)
    for a, b in zip(found, whole.masks(queries), strict=True):
        for x, y, kept in zip(a, b, queries, strict=True):
            assert len(x) == len(kept)
            torch.testing.assert_close(x, y, atol=1e-5, rtol=0)


def test_what_reads_masks_is_given_them() -> None:
    assert not _model("step1_eomt_segmenter").defers_masks
    assert not _model("minvis").defers_masks


def test_masks_have_the_size_of_the_video(index: YTVISIndex) -> None:
    settings = replace(BASE, short_side=24, divisor=16)
    for prediction in _predict(_model("step6_videomt"), index, settings):
        assert {tuple(m["size"]) for m in prediction.segmentations} == {(40, 52)}
        assert len(prediction.segmentations) == 7


@pytest.mark.parametrize("ahead", [2, None])
@torch.no_grad()
def test_videos_that_are_looked_ahead_in(ahead: int | None, index: YTVISIndex) -> None:
    """Blocks begin with the video, whatever the window; also when masks are computed again."""
    settings = replace(BASE, look_ahead=ahead)
    model = stream.prepared(_model("step6_videomt"), settings)
    held = _predict(model, index, settings)
    assert held == _predict(model, index, replace(settings, buffer_mib=0))
    assert held != _predict(_model("step6_videomt"), index, BASE)
    video = index.videos[:1]
    outputs = stream.run_videos(model, video, index.frames_root, settings)
    frames = stream.normalize(stream.load_video_frames(video[0], index.frames_root, range(7)))
    whole, _ = model(stream.pad_to_multiple(frames, 8)[None])
    torch.testing.assert_close(outputs.class_logits, whole.class_logits.mean(1), atol=1e-5, rtol=0)


def test_looking_ahead_is_not_compiled() -> None:
    with pytest.raises(BenchError, match="not compiled"):
        stream.prepared(_model("gru"), replace(BASE, look_ahead=None, compile="default"))
