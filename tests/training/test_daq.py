"""DVIS-DAQ's training: matching, losses, which tracks go on, and what is simulated."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models.anchors import Anchors
from videomt_bench.models.contracts import Prediction
from videomt_bench.training import daq_clips, daq_matching
from videomt_bench.training.daq_clips import ClipLearner, LearningTracks, TrackLearning, is_shown
from videomt_bench.training.daq_losses import Supervised, frame_losses
from videomt_bench.training.daq_matching import Segmented, match_new, match_segments
from videomt_bench.training.layers import ONE_STREAM, LossSettings, Points

SETTINGS = LossSettings(num_points=32)
C = 3


def target(objects: list[tuple[int, bool]], size: int = 8) -> ClipTargets:
    """One frame; object i has a label, fills column pair i where it is there."""
    masks = torch.zeros(len(objects), 1, size, size, dtype=torch.bool)
    for i, (_, there) in enumerate(objects):
        masks[i, 0, :, 2 * i : 2 * i + 2] = there
    labels = torch.tensor([label for label, _ in objects], dtype=torch.long)
    return ClipTargets(labels, masks, masks.flatten(2).any(2))


def shows(truth: ClipTargets, objects: list[int], sure: float = 6.0) -> Prediction:
    """A prediction in which row i shows an object of the target, -1: nothing."""
    logits = torch.zeros(1, len(objects), C + 1)
    masks = torch.full((1, len(objects), *truth.masks.shape[-2:]), -sure)
    for row, i in enumerate(objects):
        logits[0, row, C if i < 0 else int(truth.labels[i])] = sure
        if i >= 0:
            columns = slice(2 * i, 2 * i + 2)
            masks[0, row, :, columns] = sure
    return Prediction(logits, masks)


# Matching


def test_segments_are_matched_to_what_is_there() -> None:
    """Rows 1 and 3 show object 2: one owns it, both belong to it. Object 1 is not there."""
    truth = target([(0, True), (1, False), (2, True)])
    prediction = shows(truth, [-1, 2, 0, 2, 1])
    prediction.mask_logits[0, 3] *= 0.1
    found = match_segments(prediction, truth, SETTINGS, ONE_STREAM, score=0.5)
    assert found.owner.tolist() == [-1, 2, 0, -1, -1]
    assert found.nearest[:4].tolist() == [-1, 2, 0, 2]
    assert found.nearest[4] in (0, 2), "what shows something belongs to something that is there"


def test_without_objects_no_segment_has_one() -> None:
    for truth in (target([]), target([(1, False)])):
        found = match_segments(shows(truth, [-1, -1]), truth, SETTINGS, ONE_STREAM, 0.01)
        assert found.owner.tolist() == [-1, -1]
        assert found.nearest.tolist() == [-1, -1]


def test_tracks_keep_their_objects_and_new_ones_go_to_new_queries() -> None:
    truth = target([(0, True), (1, True), (2, False), (0, True)])
    # track 0 shows what track 1 has; object 3 is shown best by a track
    prediction = shows(truth, [1, 3, -1, 3, 0, -1])
    owner = torch.tensor([0, 1, 2])
    found = match_new(prediction, truth, owner, SETTINGS, ONE_STREAM)
    assert found.tolist() == [0, 1, 2, 3, -1, -1]
    prediction = shows(truth, [0, 1, -1, -1, 3, -1])
    assert match_new(prediction, truth, owner, SETTINGS, ONE_STREAM).tolist()[3:] == [-1, 3, -1]
    nobody = torch.tensor([-1, 1])
    found = match_new(shows(truth, [0, 1, 3, 0]), truth, nobody, SETTINGS, ONE_STREAM)
    assert found.tolist() == [-1, 1, 3, 0]


def test_new_objects_are_matched_at_the_lowest_cost() -> None:
    """Of all assignments to the rows that look for new objects; costs are tested elsewhere."""
    g = torch.Generator().manual_seed(0)
    truth = target([(0, True), (1, True), (2, True)])
    for seed in range(5):
        prediction = Prediction(
            torch.randn(1, 5, C + 1, generator=g), torch.randn(1, 5, 8, 8, generator=g)
        )
        points = [Points((torch.Generator().manual_seed(seed),)) for _ in range(2)]
        found = match_new(prediction, truth, torch.tensor([1]), SETTINGS, points[0])
        cost = daq_matching._costs(prediction, truth, SETTINGS, points[1])
        rows = min(permutations(range(1, 5), 2), key=lambda r: cost[r[0], 0] + cost[r[1], 2])
        expected = [1, -1, -1, -1, -1]
        expected[rows[0]], expected[rows[1]] = 0, 2
        assert found.tolist() == expected


# Losses


def constant(rows: int, classes: Tensor, mask: float) -> Prediction:
    return Prediction(classes[None], torch.full((1, rows, 8, 8), mask))


def test_losses_of_frames_with_other_numbers_of_rows_by_hand() -> None:
    """Masks without detail, so that points do not matter: full where an object is."""
    g = torch.Generator().manual_seed(1)
    truth = [target([(0, True), (1, True)]), target([(0, True), (1, False)])]
    for t in truth:
        t.masks[t.present] = True
    owners = [torch.tensor([1, -1, 0]), torch.tensor([0, 1])]
    layers = [
        [constant(len(o), torch.randn(len(o), C + 1, generator=g), m) for m in (0.5, -1.0)]
        for o in owners
    ]
    frames = [
        Supervised(predictions, owner, is_shown(owner, t), t)
        for predictions, owner, t in zip(layers, owners, truth, strict=True)
    ]
    found = frame_losses(frames, SETTINGS, ONE_STREAM)
    # the class of an object that is not there is no-object; all rows of all frames are one mean
    labels, weights = [1, 3, 0, 0, 3], [1.0, 0.1, 1.0, 1.0, 0.1]
    expected = 0.0
    for layer in range(2):
        logits = torch.cat([predictions[layer].class_logits[0] for predictions in layers])
        terms = [-logits.log_softmax(-1)[i, label] for i, label in enumerate(labels)]
        expected += sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)
    assert float(found["class"]) == pytest.approx(2 * float(expected), rel=1e-5)
    # three objects are there; four rows have one
    bce = dice = 0.0
    for mask in (0.5, -1.0):
        p = torch.tensor(mask).sigmoid()
        bce += 3 * float(-p.log())
        dice += 3 * float(1 - (2 * 32 * p + 1) / (32 * p + 32 + 1))
    # points near the border fade in prediction and truth alike
    assert float(found["mask"]) == pytest.approx(5 * bce / 4, rel=0.15)
    assert float(found["dice"]) == pytest.approx(5 * dice / 4, rel=0.15)


def test_without_objects_there_is_a_gradient_of_zeros() -> None:
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    prediction = Prediction(torch.zeros(1, 2, C + 1, requires_grad=True), logits)
    owner = torch.tensor([-1, -1])
    truth = target([])
    losses = frame_losses(
        [Supervised([prediction], owner, owner >= 0, truth)], SETTINGS, ONE_STREAM
    )
    sum(losses.values()).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


# Which tracks go on


@pytest.fixture
def learner(tiny) -> ClipLearner:
    tracker = tiny.model("dvis_daq").tracker.train()
    return ClipLearner(tracker, TrackLearning(score=0.6), SETTINGS, short=True)


def frame_of(learner: ClipLearner, queries: int = 5):
    g = torch.Generator().manual_seed(2)
    d = learner.tracker.dim
    maps = torch.randn(1, d, 8, 8, generator=g)
    return daq_clips.DaqFrame(
        torch.randn(1, queries, d, generator=g),
        torch.randn(1, queries, d, generator=g),
        torch.rand(1, queries, generator=g),
        torch.randn(1, queries, 8, 8, generator=g),
        maps,
        learner.tracker.mask_feature_proj(maps),
    )


def supervised(scores: list[float], owner: list[int]) -> Supervised:
    p = torch.tensor(scores)
    rest = ((1 - p) / C).log()[:, None].expand(-1, C)
    logits = torch.cat([p.log()[:, None], rest], 1)[None]
    masks = torch.randn(1, len(scores), 8, 8, generator=torch.Generator().manual_seed(3))
    owners = torch.tensor(owner)
    return Supervised([Prediction(logits, masks)], owners, owners >= 0, target([]))


def onward(learner: ClipLearner, scores: list[float], owner: list[int]) -> LearningTracks:
    rows, d = len(scores), learner.tracker.dim
    state = torch.arange(rows * d, dtype=torch.float32).view(rows, d)
    made = learner._onward(frame_of(learner), None, supervised(scores, owner), state)
    assert torch.equal(made.queries[:, 0] / d % 1, torch.zeros(len(made.queries)))
    return made


def test_in_short_clips_the_better_half_of_the_owners_goes_on(learner: ClipLearner) -> None:
    scores = [0.9, 0.4, 0.8, 0.99, 0.7, 0.5]
    tracks = onward(learner, scores, [3, 1, -1, -1, 0, 2])
    rows = (tracks.queries[:, 0] / learner.tracker.dim).tolist()
    assert rows == [0.0, 4.0]
    assert tracks.owner.tolist() == [3, 0]
    # of three, two stay
    assert onward(learner, scores[:3], [2, 1, 0]).owner.tolist() == [2, 0]
    assert onward(learner, scores, [-1] * 6).owner.tolist() == []


def test_in_long_clips_all_with_a_score_go_on(learner: ClipLearner) -> None:
    learner = replace(learner, short=False)
    tracks = onward(learner, [0.9, 0.4, 0.8, 0.99, 0.5, 0.7], [3, 1, -1, 0, 2, -1])
    rows = (tracks.queries[:, 0] / learner.tracker.dim).tolist()
    assert rows == [0.0, 2.0, 3.0, 5.0]
    assert tracks.owner.tolist() == [3, -1, 0, -1]
    assert tracks.anchors.stored.tolist() == [1, 1, 1, 1]


# What is simulated


def tracks_of(learner: ClipLearner, owner: list[int]) -> LearningTracks:
    d = learner.tracker.dim
    queries = torch.randn(len(owner), d, generator=torch.Generator().manual_seed(4))
    anchors = Anchors.none(len(owner), queries)
    return LearningTracks(queries, anchors, torch.tensor(owner, dtype=torch.long))


def test_one_object_of_many_disappears_from_slots(learner: ClipLearner, monkeypatch) -> None:
    long = replace(learner, short=False)
    many = tracks_of(long, [4, -1, 0, 1, 2])
    drawn = {long._hidden(many) for _ in range(60)}
    assert drawn == {4, 0, 1, 2}
    assert long._hidden(tracks_of(long, [4, -1, 0, 1])) is None, "of three nothing disappears"
    assert learner._hidden(many) is None, "nor in short clips"
    never = replace(long, learning=TrackLearning(disappearance=False))
    assert never._hidden(many) is None
    truth = target([(0, True), (1, False), (2, True)])
    found = Segmented(torch.tensor([0, 2, -1, -1, -1]), torch.tensor([0, 2, 0, -1, -1]))
    seen: list[Tensor | None] = []
    compete = type(long.tracker).compete

    def watched(self, frame, tracks, anchors, hidden=None):
        seen.append(hidden)
        return compete(self, frame, tracks, anchors, hidden)

    monkeypatch.setattr(type(long.tracker), "compete", watched)
    tracks = tracks_of(long, [0, 1, 2, -1])
    slots = long._slots(frame_of(long), tracks, found, truth, hidden=0)
    assert seen[0].tolist() == [True, False, True, False, False]
    # object 1 has really disappeared, object 0 is made to; the background has none
    assert slots.shown.tolist() == [False, False, True, *[False] * 6]
    assert slots.owner.tolist() == [0, 1, 2, -1, *[-1] * 5]
    assert len(slots.layers) == len(long.tracker.slot_layers)
    all_hidden = found._replace(nearest=torch.zeros(5, dtype=torch.long))
    slots = long._slots(frame_of(long), tracks, all_hidden, truth, hidden=0)
    assert seen[1] is None
    assert slots.layers[-1].class_logits.isfinite().all()


@pytest.mark.parametrize(
    ("quirk", "gone", "expected"),
    [(False, True, True), (True, True, False), (True, False, True)],
)
def test_what_disappears_from_slots_is_there_for_the_main_branch(
    learner: ClipLearner, quirk: bool, gone: bool, expected: bool
) -> None:
    """But with the list that the public code shares, where another object has really gone."""
    long = replace(learner, short=False, learning=TrackLearning(shared_gone=quirk))
    truth = target([(0, True), (1, not gone)])
    nothing = torch.full((5,), -1)
    found = Segmented(nothing, nothing)
    tracks = tracks_of(long, [0, 1])
    main, _ = long._main(frame_of(long), tracks, found, truth, hidden=0)
    assert main.shown[:2].tolist() == [expected, not gone]
