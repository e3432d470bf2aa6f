"""How DVIS-DAQ's tracker learns from clips (arXiv 2404.00086): objects that appear and disappear
are simulated, because in short clips few do.

Appearing: at first clips are short, and of the tracks that have an object only the better half goes
on, so that the objects of the others are new again. Disappearing: the segmenter's queries of one
object are hidden from the slot branch, whose slot for it learns that it is gone.

Symbols: B clips, T frames, Q queries of the segmenter, n tracks, R = n + Q rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from videomt_bench.data.clips import ClipBatch, ClipTargets
from videomt_bench.errors import BenchError
from videomt_bench.models.anchors import Anchors
from videomt_bench.models.contracts import FrameOutput, Prediction
from videomt_bench.models.daq import BACKGROUND, DaqFrame, DaqTracker, foreground
from videomt_bench.models.video import VideoSegmenter
from videomt_bench.training.daq_losses import Supervised, frame_losses
from videomt_bench.training.daq_matching import Segmented, match_new, match_segments
from videomt_bench.training.layers import ONE_STREAM, LossSettings, Points

MOST = 3
"""Tracks with an object that there must be more of, for one to disappear."""


@dataclass(frozen=True)
class TrackLearning:
    """How a varying set of tracks learns; the defaults are those of DVIS-DAQ on YouTube-VIS.

    For ``short_iterations`` clips are cut to ``short_frames`` and the worse half of the tracks is
    dropped after each frame. Then every query goes on whose class has a probability above
    ``score`` (OVIS 0.1, YouTube-VIS 0.02, VIPSeg 0.01), and with ``disappearance`` (not on VIPSeg)
    objects are made to disappear, with those of the segmenter's queries that show them with a
    probability above ``shows``.

    ``early_cut`` and ``shared_gone`` are defects of the public code: clips are cut at the first or
    second frame, and where other objects have really disappeared, the one that is made to
    disappear for the slot branch is taken for gone by the main branch as well.
    """

    short_iterations: int = 10000
    short_frames: int = 2
    score: float = 0.02
    shows: float = 0.01
    disappearance: bool = True
    early_cut: bool = False
    shared_gone: bool = False

    def __post_init__(self) -> None:
        if self.short_iterations < 0 or self.short_frames < 2:
            raise BenchError(
                f"short_iterations is {self.short_iterations} and short_frames "
                f"{self.short_frames}; valid: at least 0, at least 2"
            )
        for name in ("score", "shows"):
            if not 0 <= getattr(self, name) < 1:
                raise BenchError(
                    f"{name} of tracks is {getattr(self, name)}; valid: from 0 to below 1"
                )


class LearningTracks(NamedTuple):
    """The tracks of one clip while it learns."""

    queries: Tensor
    """(n, d)."""
    anchors: Anchors
    """(n, …)."""
    owner: Tensor
    """The object (n,) that each of them has, -1 for none; on the CPU, as all that is matched."""


@dataclass(frozen=True)
class ClipLearner:
    """One clip on its way through a tracker.

    Args:
        tracker: in training mode.
        learning, losses: settings.
        short: whether the clip is one of the short ones at the start of the training.
        points: where its random numbers come from.
    """

    tracker: DaqTracker
    learning: TrackLearning
    losses: LossSettings
    short: bool
    points: Points = ONE_STREAM

    def learn(
        self, frames: Sequence[DaqFrame], segmented: Sequence[Prediction], target: ClipTargets
    ) -> dict[str, Tensor]:
        """The losses of a clip, those of the slot branch with names that begin with ``slot_``.

        Args:
            frames: what the tracker reads of each frame.
            segmented: what the segmenter predicts in each.
            target: of the clip.
        """
        main: list[Supervised] = []
        slots: list[Supervised] = []
        tracks: LearningTracks | None = None
        for t, (frame, prediction) in enumerate(zip(frames, segmented, strict=True)):
            here = frame_target(target, t)
            shows = self.learning.shows
            found = match_segments(prediction, here, self.losses, self.points, shows)
            hidden = None if tracks is None else self._hidden(tracks)
            if tracks is not None:
                slots.append(self._slots(frame, tracks, found, here, hidden))
            supervised, state = self._main(frame, tracks, found, here, hidden)
            main.append(supervised)
            tracks = self._onward(frame, tracks, supervised, state)
        return {
            f"loss_{branch}{name}": value
            for branch, supervised_frames in (("", main), ("slot_", slots))
            for name, value in frame_losses(supervised_frames, self.losses, self.points).items()
        }

    def _main(
        self,
        frame: DaqFrame,
        tracks: LearningTracks | None,
        found: Segmented,
        target: ClipTargets,
        hidden: int | None,
    ) -> tuple[Supervised, Tensor]:
        """The main branch in one frame, and its last state (R, d)."""
        if tracks is None:
            states = self.tracker.begin(frame)
            layers, owner = self.tracker.predict(states, frame), found.owner
            return Supervised(layers, owner, is_shown(owner, target), target), states[-1][0]
        states = self.tracker.follow(frame, tracks.queries, tracks.anchors.fused)
        layers = self.tracker.predict(states, frame)
        owner = match_new(layers[-1], target, tracks.owner, self.losses, self.points)
        shown = is_shown(owner, target)
        if self.learning.shared_gone and hidden is not None:
            gone = (tracks.owner >= 0) & ~shown[: len(tracks.owner)]
            shown &= (owner != hidden) | ~gone.any()
        return Supervised(layers, owner, shown, target), states[-1][0]

    def _slots(
        self,
        frame: DaqFrame,
        tracks: LearningTracks,
        found: Segmented,
        target: ClipTargets,
        hidden: int | None,
    ) -> Supervised:
        """The slot branch in one frame: the slots of the tracks, then those of the background."""
        unseen = None
        if hidden is not None:
            unseen = (found.nearest == hidden).to(frame.queries.device)
            unseen = None if bool(unseen.all()) else unseen
        states = self.tracker.compete(frame, tracks.queries, tracks.anchors.fused, unseen)
        background = torch.full((BACKGROUND,), -1, dtype=torch.long)
        owner = torch.cat([tracks.owner, background])
        shown = is_shown(owner, target)
        if hidden is not None:
            shown &= owner != hidden
        return Supervised(self.tracker.predict(states, frame), owner, shown, target)

    def _hidden(self, tracks: LearningTracks) -> int | None:
        """The object that is made to disappear from the slot branch, if one is."""
        owned = tracks.owner[tracks.owner >= 0]
        if self.short or not self.learning.disappearance or len(owned) <= MOST:
            return None
        return int(owned[draw(len(owned), self.points)])

    def _onward(
        self,
        frame: DaqFrame,
        tracks: LearningTracks | None,
        supervised: Supervised,
        state: Tensor,
    ) -> LearningTracks:
        """The rows of a frame that go on as tracks, with their new anchors."""
        final, owner = supervised.layers[-1], supervised.owner
        score = foreground(final.class_logits)[0].cpu()
        if self.short:
            owned = (owner >= 0).nonzero()[:, 0]
            best = score[owned].argsort(descending=True, stable=True)
            rows = owned[best[: len(owned) - len(owned) // 2]].sort().values
        else:
            rows = (score > self.learning.score).nonzero()[:, 0]
        chosen = rows.to(state.device)
        old = Anchors.none(0, state) if tracks is None else tracks.anchors
        anchors = old.extended(len(state) - len(old.stored)).take(chosen)
        positions = self.tracker.positions(final.mask_logits[0, chosen], frame)
        seen = torch.ones_like(anchors.stored, dtype=torch.bool)
        return LearningTracks(state[chosen], anchors.updated(positions, seen), owner[rows])


def track_losses(
    model: VideoSegmenter,
    batch: ClipBatch,
    learning: TrackLearning,
    losses: LossSettings,
    short: bool,
    points: Points = ONE_STREAM,
) -> tuple[dict[str, Tensor], Tensor]:
    """The mean losses of the clips of a batch, and of each, bool (B,), whether it is finite.

    Every clip counts the same, as where each has a device of its own, so losses do not depend on
    how a batch is shared.

    Raises:
        BenchError: a tracker of another kind, a segmenter that should learn, clips of one frame.
    """
    tracker = model.tracker
    if not isinstance(tracker, DaqTracker):
        raise BenchError(
            f"the matching 'new_instances' is for DaqTracker, not for {type(tracker).__name__}; "
            "valid for others are first_appearance and per_frame"
        )
    if any(p.requires_grad for p in model.segmenter.parameters()):
        raise BenchError(
            "the matching 'new_instances' teaches a tracker alone; put 'segmenter' into frozen"
        )
    generators = [None] * len(batch.targets) if points.generators is None else points.generators
    own = [ONE_STREAM if g is None else Points((g,)) for g in generators]
    if short:
        batch = cut(batch, learning, own)
    if batch.frames.shape[1] < 2:
        raise BenchError("tracks are learned from clips of at least 2 frames, not of 1")
    outputs = _segmented(model, batch)
    frames = [tracker.read(output) for output in outputs]
    clips = []
    for b, (target, stream) in enumerate(zip(batch.targets, own, strict=True)):
        learner = ClipLearner(tracker, learning, losses, short, stream)
        predictions = [
            Prediction(o.class_logits[b : b + 1], o.mask_logits[b : b + 1]) for o in outputs
        ]
        clips.append(learner.learn([frame.of(b) for frame in frames], predictions, target))
    mean = {name: torch.stack([clip[name] for clip in clips]).mean() for name in clips[0]}
    totals = torch.stack([torch.stack(list(clip.values())).sum() for clip in clips])
    return mean, totals.detach().isfinite()


def _segmented(model: VideoSegmenter, batch: ClipBatch) -> list[FrameOutput]:
    """What the segmenter gives of each frame."""
    clips, length = batch.frames.shape[:2]
    features = model.encode(batch.frames.flatten(0, 1))
    memory = model.memory.init_state(clips)
    outputs = []
    for t in range(length):
        output, memory = model.segment(features.select(slice(t, None, length)), memory)
        outputs.append(output)
    return outputs


def cut(batch: ClipBatch, learning: TrackLearning, points: Sequence[Points]) -> ClipBatch:
    """``short_frames`` frames of each clip, from a random one on."""
    length, size = batch.frames.shape[1], min(learning.short_frames, batch.frames.shape[1])
    starts = length - size + 1
    if learning.early_cut:
        starts = min(starts, 2)
    slices = [slice(first, first + size) for first in (draw(starts, p) for p in points)]
    frames = torch.stack([clip[s] for clip, s in zip(batch.frames, slices, strict=True)])
    targets = [
        replace(target, masks=target.masks[:, s], present=target.present[:, s])
        for target, s in zip(batch.targets, slices, strict=True)
    ]
    return ClipBatch(frames, targets, batch.origins)


def frame_target(target: ClipTargets, frame: int) -> ClipTargets:
    """The target of one frame."""
    one = slice(frame, frame + 1)
    return replace(target, masks=target.masks[:, one], present=target.present[:, one])


def is_shown(owner: Tensor, target: ClipTargets) -> Tensor:
    """Bool (R,): whether the object of a row is there; ``target`` is of one frame."""
    shown = owner >= 0
    shown[owner >= 0] = target.present[:, 0].cpu()[owner[owner >= 0]]
    return shown


def draw(count: int, points: Points) -> int:
    """A random number below ``count``."""
    if points.generators is None:
        return int(torch.randint(count, ()))
    (generator,) = points.generators
    return int(torch.randint(count, (), generator=generator, device=generator.device))
