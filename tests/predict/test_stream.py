"""Frame by frame against evaluation of the whole video: the same masks, at its end the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from tiny_videos import (
    pictures,
    source_of,
    tiny_classes,
    tiny_model,
    tiny_predictor,
    write_folder,
)
from torch.nn.functional import interpolate

from videomt_bench.data.classes import Category
from videomt_bench.data.ytvis import Video
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.inference import predict_videos
from videomt_bench.evaluation.panoptic_inference import PanopticSettings, panoptic_video
from videomt_bench.evaluation.semantic_inference import semantic_video
from videomt_bench.evaluation.stream import InferenceSettings, VideoOutputs, run_videos
from videomt_bench.models import VideoSegmenter
from videomt_bench.models.postprocess import top_k
from videomt_bench.predict.classes import Task
from videomt_bench.predict.predictor import Predictor, Ranking
from videomt_bench.predict.run import final_scores
from videomt_bench.predict.running import RunningMean
from videomt_bench.predict.segments import FrameSegments, Geometry
from videomt_bench.predict.source import open_folder

HEIGHT, WIDTH = 45, 62
RESIZED = InferenceSettings(short_side=37, divisor=8, top_k=6, window=2)


def _video(folder: Path, count: int) -> Video:
    names = [f"clip/{t}.png" for t in range(count)]
    write_folder(folder / "clip", pictures(count, HEIGHT, WIDTH))
    return Video(1, "clip", HEIGHT, WIDTH, names)


def _stream(task: Task, folder: Path, settings: InferenceSettings, **ranking: float):
    predictor = Predictor(tiny_model(), tiny_classes(task), settings, {}, Ranking(**ranking))
    stream = predictor.stream()
    found = [segments for _, segments in stream.run(open_folder(folder / "clip").frames)]
    return found, stream


@pytest.mark.parametrize("window", [1, 3])
def test_instances(window: int, tmp_path: Path) -> None:
    """Every slot is shown, so every mask that evaluation writes must be among those shown."""
    video = _video(tmp_path, 7)
    categories = [Category(i + 1, n) for i, n in enumerate("abcd")]
    settings = InferenceSettings(short_side=37, divisor=8, top_k=24, window=window)
    expected = list(predict_videos(tiny_model(), [video], tmp_path, categories, settings))
    outputs = run_videos(tiny_model(), [video], tmp_path, settings)
    pairs = top_k(outputs.class_logits[0], 24)
    found, stream = _stream("instances", tmp_path, settings, threshold=0.0)
    filled = 0
    for prediction, query in zip(expected, pairs.queries.tolist(), strict=True):
        for code, frame in zip(prediction.segmentations, found, strict=True):
            shown = {s.query: mask for s, mask in zip(frame.segments, frame.masks, strict=True)}
            mask = coco_mask.decode(code).astype(bool)
            np.testing.assert_array_equal(shown.get(query, np.zeros_like(mask)), mask)
            filled += mask.any()
    assert filled > 20
    final = final_scores(stream.whole)
    best = outputs.class_logits[0].softmax(-1)[:, :-1].max(-1)
    assert [final[q][0] for q in range(6)] == best.indices.tolist()
    np.testing.assert_allclose([final[q][1] for q in range(6)], best.values, atol=1e-6)


def test_the_score_of_the_last_frame_is_that_of_the_video(tmp_path: Path) -> None:
    _video(tmp_path, 5)
    found, stream = _stream("instances", tmp_path, RESIZED, threshold=0.0)
    final = final_scores(stream.whole)
    for segment in found[-1].segments:
        assert segment.score == pytest.approx(final[segment.query][1], abs=1e-6)


def test_semantic(tmp_path: Path) -> None:
    """The last frame has evaluation's mean; with one frame there is nothing but it."""
    video = _video(tmp_path, 4)
    outputs = run_videos(tiny_model(), [video], tmp_path, RESIZED)
    expected = list(semantic_video(outputs, (HEIGHT, WIDTH)))
    found, _ = _stream("semantic", tmp_path, RESIZED)
    np.testing.assert_array_equal(_labels(found[-1]), expected[-1])
    assert len(np.unique(expected[-1])) > 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length", [1, 3])
def test_panoptic(length: int, seed: int) -> None:
    """With class logits that do not change, the sums of the last frame are those of the video."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(9, 5, generator=generator)
    logits[torch.arange(9), torch.randint(0, 5, (9,), generator=generator)] += 6
    coarse = 3 * torch.randn(length, 9, 3, 4, generator=generator)
    coarse = coarse - 7 + 10 * (coarse == coarse.amax(1, keepdim=True))
    masks = interpolate(coarse, (6, 8), mode="bilinear")
    padded, inner, size = (24, 32), (20, 30), (25, 37)
    outputs = VideoOutputs(
        logits[None], lambda queries: ([frame[queries[0]]] for frame in masks), padded, inner
    )
    expected = panoptic_video(outputs, size, PanopticSettings(2))
    ids = list(expected.frames)[-1]
    task = tiny_predictor("panoptic").stream().task
    found = [task.segments(logits, frame, Geometry(padded, inner, size)) for frame in masks][-1]
    labels = np.array([-1, *(expected.labels[i + 1] for i in range(len(expected.labels)))])
    np.testing.assert_array_equal(_labels(found), labels[ids])
    same = {(a, b) for a, b in zip(ids.ravel().tolist(), found.owner.ravel().tolist(), strict=True)}
    assert len({a for a, _ in same}) == len({b for _, b in same}) == len(same) > 2


def _contest(start: int) -> tuple[torch.Tensor, torch.Tensor, Geometry]:
    """The better of two queries takes the columns of the other's 20 from ``start`` on."""
    logits = torch.full((2, 5), -5.0)
    logits[0, 0], logits[1, 1] = 2.0, 4.0
    masks = torch.full((2, 2, 40), -10.0)
    masks[0, :, :20] = masks[1, :, start:] = 10.0
    return logits, masks, Geometry((8, 160), (8, 160), (8, 160))


@pytest.mark.parametrize(("start", "kept"), [(15, [1]), (17, [0, 1])])
def test_a_query_must_win_four_fifths_of_its_mask(start: int, kept: list[int]) -> None:
    task = tiny_predictor("panoptic").stream().task
    assert [s.label for s in task.segments(*_contest(start)).segments] == kept


@pytest.mark.parametrize(("horizon", "kept"), [(None, [0, 1]), (1, [1])])
def test_the_four_fifths_are_of_all_frames_until_now(horizon: int | None, kept: list[int]) -> None:
    """0.75 after twice 0.95 is 0.88 of the three; of its own frame it is too little."""
    task = tiny_predictor("panoptic", horizon=horizon).stream().task
    for start in (19, 19, 15):
        found = task.segments(*_contest(start))
    assert [s.label for s in found.segments] == kept


def test_stuff_of_a_class_is_one_segment_with_one_id() -> None:
    predictor = tiny_predictor("panoptic", threshold=0.3)
    task = predictor.stream().task
    logits = torch.full((3, 5), -9.0)
    logits[0, 2] = logits[1, 2] = logits[2, 0] = 9.0
    masks = torch.full((3, 12, 12), -9.0)
    masks[0, :, :4] = masks[1, :, 4:8] = masks[2, :, 8:] = 9.0
    geometry = Geometry((48, 48), (48, 48), (48, 48))
    found = task.segments(logits, masks, geometry)
    assert [(s.id, s.label, s.is_thing, s.query) for s in found.segments] == [
        (1, 2, False, None),
        (2, 0, True, 2),
    ]
    assert found.owner[0, [0, 20, 40]].tolist() == [1, 1, 2]
    again = task.segments(logits[[2, 1, 0]][:, [0, 1, 2, 3, 4]], masks[[2, 1, 0]], geometry)
    assert {s.id for s in again.segments} == {1, 3}  # another slot is another thing


def _labels(found: FrameSegments) -> np.ndarray:
    return np.array([-1, *(s.label for s in found.segments)])[found.owner]


@pytest.mark.parametrize("task", ["instances", "panoptic", "semantic"])
@pytest.mark.parametrize("window", [2, 5, 16])
def test_the_window_changes_nothing(task: Task, window: int) -> None:
    def run(size: int) -> list[FrameSegments]:
        predictor = tiny_predictor(task, threshold=0.3)
        settings = InferenceSettings(short_side=None, divisor=8, top_k=6, window=size)
        stream = Predictor(predictor.model, predictor.classes, settings, {}, predictor.ranking)
        return [s for _, s in stream.stream().run(source_of(pictures(11)).frames)]

    for a, b in zip(run(1), run(window), strict=True):
        np.testing.assert_array_equal(a.owner, b.owner)
        assert [(s.id, s.label, s.query) for s in a.segments] == [
            (s.id, s.label, s.query) for s in b.segments
        ]


def test_one_predictor_serves_videos_in_turn() -> None:
    predictor = tiny_predictor(threshold=0.0)

    def run() -> list[tuple[int, float]]:
        frames = source_of(pictures(4)).frames
        return [(s.id, s.score) for _, f in predictor.stream().run(frames) for s in f.segments]

    assert run() == run()


def test_running_mean() -> None:
    values = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    whole, last, fading = RunningMean(), RunningMean(1), RunningMean(3)
    for t, value in enumerate(values):
        torch.testing.assert_close(whole.update(value), values[: t + 1].mean(0))
        assert torch.equal(last.update(value), value)
        mean = fading.update(value)
    expected = values[:3].mean(0)
    for value in values[3:]:
        expected = expected * 2 / 3 + value / 3
    torch.testing.assert_close(mean, expected)


def test_what_comes_late_is_seen_sooner_with_a_horizon() -> None:
    """900 frames without an object, then it is there: the mean of all needs as many more."""

    def frames_until_seen(horizon: int | None) -> int:
        mean = RunningMean(horizon)
        absent, present = torch.tensor([-3.0, 3.0]), torch.tensor([3.0, -3.0])
        for _ in range(900):
            mean.update(absent)
        return next(t for t in range(1, 2000) if mean.update(present).softmax(-1)[0] > 0.5)

    assert frames_until_seen(None) == 901
    assert frames_until_seen(100) < 100
    assert frames_until_seen(1) == 1


def test_out_of_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(VideoSegmenter, "forward", exhausted)
    with pytest.raises(BenchError, match="does not suffice for 1 frames of 48 x 64"):
        next(tiny_predictor().stream().run(source_of(pictures(1)).frames))
