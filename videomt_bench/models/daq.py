"""DVIS-DAQ's tracker: tracks look for their objects, anchors on queries of a frame for new ones
(Zhou et al., "Improving video segmentation via dynamic anchor queries", ECCV 2024, 2404.00086).

Queries of tracks and one learned query for new objects, as often as the frame has queries, enter a
transformer together. A query for new objects differs from the others by its anchor alone, the
position of one of these. A slot branch tells tracks whose object is gone.

Symbols: B streams, Q queries of the segmenter, n living tracks, R = n + Q rows, P places, d tracker
width, h × w mask logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from videomt_bench.errors import BenchError
from videomt_bench.models.anchors import Anchors, PositionEmbedding
from videomt_bench.models.cavis import AppearanceTracker
from videomt_bench.models.context import Appearance
from videomt_bench.models.contracts import (
    ClipOutput,
    Cost,
    FrameFeatures,
    FrameOutput,
    Prediction,
    State,
    Tracker,
)
from videomt_bench.models.daq_offline import TrackedFrames, whole_tracks
from videomt_bench.models.daq_tracks import (
    Kept,
    TrackLimits,
    Tracks,
    keep,
)
from videomt_bench.models.heads import PredictionHeads
from videomt_bench.models.referring import ReferringLayer
from videomt_bench.models.slot_attention import SlotLayer, nearest_queries
from videomt_bench.models.variant import SlotSizes

BACKGROUND = 5
"""Slots for what belongs to no track."""
COUNTED = 4
"""Where operations are counted without values, there is one living track for so many queries."""


DEFAULT_LIMITS = TrackLimits()


class DaqFrame(NamedTuple):
    """A segmenter's output of one frame as the tracker reads it, of B streams."""

    queries: Tensor
    """(B, Q, d), normalised."""
    learned: Tensor
    """What entered the frame (B, Q, d)."""
    score: Tensor
    """Probability of the likeliest class (B, Q)."""
    mask_logits: Tensor
    """(B, Q, h, w)."""
    mask_features: Tensor
    """(B, d, h, w), from which positions are."""
    projected: Tensor
    """(B, d, h, w), from which masks are."""

    def of(self, stream: int) -> DaqFrame:
        """That of one stream, B = 1."""
        return DaqFrame(*(x[stream : stream + 1] for x in self))


class DaqTracker(Tracker):
    """A varying set of tracks, each of which finds its object in a frame, and new ones beside them.

    Streams have sets of their own sizes, so each goes through the tracker alone. Tracks begin and
    end, see ``daq_tracks``; a slot of the output is a place, ``FrameOutput.tracks`` says whose.

    Args:
        sizes: ``decoder`` has the sizes of the tracker, ``selection`` the thresholds. Queries and
            mask features of another width pass a linear layer and a 1 × 1 convolution first.
        limits: how long tracks last.
        reid: whether the segmenter learns identities as that of DVIS++ does, in the segmenter stage
            alone: the tracker does not look at them.
        unused_heads: in evaluation predict by every layer and run the slot branch where nothing
            asks it, as the public code does, though only the last layer's prediction is used.
    """

    component = "tracker"
    numbers_tracks = True

    def __init__(
        self,
        sizes: SlotSizes,
        limits: TrackLimits = DEFAULT_LIMITS,
        *,
        reid: bool = False,
        unused_heads: bool = False,
    ) -> None:
        super().__init__()
        decoder, dim = sizes.decoder, sizes.decoder.dim
        self.dim = dim
        self.selection = sizes.selection
        self.limits = limits
        self.shortest = limits.shortest
        self.count = sizes.num_queries
        self.counted = max(1, sizes.num_queries // COUNTED)
        self.unused_heads = unused_heads
        same = sizes.dim == dim
        self.query_projection = nn.Identity() if same else nn.Linear(sizes.dim, dim)
        self.map_projection = nn.Identity() if same else nn.Conv2d(sizes.dim, dim, 1)
        self.appearance = Appearance(dim, "none").requires_grad_(False) if reid else None
        self.mask_feature_proj = nn.Conv2d(dim, dim, 1)
        self.pos_embed = PositionEmbedding(dim)
        self.new_instance = nn.Embedding(1, dim)
        self.background = nn.Embedding(BACKGROUND, dim)
        depth = decoder.tracker_layers
        self.layers = nn.ModuleList(ReferringLayer(decoder) for _ in range(depth))
        self.slot_layers = nn.ModuleList(SlotLayer(decoder) for _ in range(depth))
        self.heads = PredictionHeads(dim, sizes.num_classes)
        # what it costs to predict anew is the tracker's
        self.heads.component = self.component

    def init_state(self, batch: int) -> State:
        return None

    @torch.compiler.disable
    def track(
        self, output: FrameOutput, features: FrameFeatures, state: Tracks | None
    ) -> tuple[FrameOutput, State]:
        frame = self.read(output)
        outputs, states = [], []
        for b in range(len(frame.queries)):
            before = None if state is None else tree_map(itemgetter(b), state)
            tracked, after = self._step(frame.of(b), before)
            outputs.append(tracked)
            states.append(after)
        following = tree_map(lambda *x: torch.stack(x), *states)
        joined = _joined(outputs, output if self.training else None)
        joined.mask_features, joined.frame_queries = frame.mask_features, frame.queries
        return joined, following

    def to_refine(self, output: ClipOutput) -> tuple[Tensor, ...]:
        """Everything of every frame: which tracks are the best is known at the end."""
        return TrackedFrames.of(output)

    def whole_video(self, parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
        return whole_tracks([TrackedFrames(*part) for part in parts])

    def image_stage(self) -> Tracker | None:
        if self.appearance is None:
            return None
        appearance = self.appearance.requires_grad_(True)
        return AppearanceTracker(self.query_projection, self.map_projection, appearance)

    def read(self, output: FrameOutput) -> DaqFrame:
        """A segmenter's output in the widths of the tracker.

        Raises:
            BenchError: the segmenter does not give its mask features.
        """
        if output.mask_features is None or output.entered is None:
            raise BenchError(
                "a segmenter that gives no mask_features cannot go with this tracker; "
                "valid are those whose FrameOutput has them"
            )
        mask_features = self.map_projection(output.mask_features)
        return DaqFrame(
            self.query_projection(output.embeddings),
            self.query_projection(output.entered),
            foreground(output.class_logits),
            output.mask_logits,
            mask_features,
            self.mask_feature_proj(mask_features),
        )

    def begin(self, frame: DaqFrame) -> list[Tensor]:
        """The first frame's queries (1, Q, d): as they are, and after each layer."""
        x = frame.queries
        states = [x]
        for layer in self.layers:
            x = layer(x, x, frame.queries, frame.queries)
            states.append(x)
        return states

    def follow(self, frame: DaqFrame, tracks: Tensor, anchors: Tensor) -> list[Tensor]:
        """Tracks and what looks for new objects (1, R, d): as they enter, and after each layer.

        Args:
            frame: of one stream.
            tracks: queries of the tracks (n, d).
            anchors: of the tracks (n, d).
        """
        positions = self.pos_embed.under(frame.mask_logits, frame.mask_features)
        key = frame.queries + positions
        new = self.new_instance.weight.repeat(frame.queries.shape[1], 1)
        x = torch.cat([tracks.to(new.dtype), new])[None]
        anchor = torch.cat([anchors[None].to(positions.dtype), positions], 1)
        states = [x]
        for layer in self.layers:
            x = layer(x, x + anchor, key, frame.queries)
            states.append(x)
        return states

    def compete(
        self, frame: DaqFrame, tracks: Tensor, anchors: Tensor, hidden: Tensor | None = None
    ) -> list[Tensor]:
        """Slots of the tracks, then those of the background (1, n + 5, d), after each layer.

        Args:
            frame, tracks, anchors: as in ``follow``.
            hidden: bool (Q,), the frame's queries that no slot may see.
        """
        background = self.background.weight
        identity = torch.cat([tracks.to(background.dtype), background])[None]
        slots = torch.cat([anchors.to(background.dtype), background])[None]
        chosen = nearest_queries(identity, frame.learned)
        x = frame.learned[0, chosen[0]][None]
        mask = None if hidden is None else hidden[None]
        states = []
        for layer in self.slot_layers:
            x = layer(x, identity, slots, frame.queries, mask)
            states.append(x)
        return states

    def predict(self, states: list[Tensor], frame: DaqFrame) -> list[Prediction]:
        """What is predicted from each state."""
        return [self.heads(x, frame.projected)[0] for x in states]

    def positions(self, mask_logits: Tensor, frame: DaqFrame) -> Tensor:
        """Positions (k, d) of masks (k, h, w) in a frame of one stream."""
        return self.pos_embed.under(mask_logits[None], frame.mask_features)[0]

    def cost(self) -> Cost:
        """What depends on the tracks that there are, and what no counter sees."""
        most = self.limits.places * self.count
        return Cost(
            notes=[
                f"counted with {self.counted} living tracks, each of which adds to it; timed with "
                f"as many as the weights find, with random ones up to {most}",
                "one assignment of slots per frame on the processor, not counted",
            ]
        )

    def _step(self, frame: DaqFrame, before: Tracks | None) -> tuple[FrameOutput, Tracks]:
        """One frame of one stream."""
        first = before is None
        places = self.limits.places * self.count
        # what is kept for long is kept in full precision
        wide = torch.promote_types(frame.queries.dtype, torch.float32)
        state = Tracks.none(places, frame.queries.to(wide)) if before is None else before
        living = state.living(0 if first else self.counted)
        tracks, anchors = state.queries[living], state.anchors.take(living)
        states = self.begin(frame) if first else self.follow(frame, tracks, anchors.fused)
        every = self.training or self.unused_heads
        final, *others = self.predict(states[::-1] if every else states[-1:], frame)
        slots: list[Prediction] = []
        if not first and (every or self.selection.confirmed is not None):
            competed = self.compete(frame, tracks, anchors.fused)
            slots = self.predict(competed if self.training else competed[-1:], frame)
        score = frame.score[0] if first else foreground(final.class_logits)[0]
        kept = keep(state, living, self._found(score, slots, first), score, self.limits)
        if self.unused_heads and not self.training:
            final = _kept_alive(final, [*others, *slots])
        output = self._seated(states[-1], [final, *others[::-1]], slots, kept)
        after = self._state(anchors, states[-1], final, frame, kept)
        output.anchors = after.anchors.fused[None]
        return output, after

    def _found(self, score: Tensor, slots: list[Prediction], first: bool) -> Tensor:
        """Whether a row has an object, bool (R,)."""
        rules = self.selection
        found = score > (rules.first if first else rules.score)
        if slots and rules.confirmed is not None:
            confirmed = foreground(slots[-1].class_logits)[0, :-BACKGROUND] > rules.confirmed
            found[: len(confirmed)] &= confirmed
        return found

    def _seated(
        self, last: Tensor, predictions: list[Prediction], slots: list[Prediction], kept: Kept
    ) -> FrameOutput:
        """The output by place. In training it has the predictions of all layers, those of slots
        after them; in the first frame no slot predicts anything."""
        final, *others = (kept.seats.predicted(p) for p in predictions)
        if self.training:
            nobody = kept.older._replace(rows=kept.older.rows[:0], places=kept.older.places[:0])
            seats = kept.older if slots else nobody
            others += [seats.predicted(p) for p in slots or [predictions[0]] * len(self.layers)]
        return FrameOutput(
            final.class_logits,
            final.mask_logits,
            queries=kept.seats.seat(last[0])[None],
            embeddings=kept.seats.seat(self.heads.norm(last[0]))[None],
            intermediate=tuple(others) if self.training else (),
            tracks=kept.seats.settle(kept.number, -1)[None],
        )

    def _state(
        self,
        anchors: Anchors,
        last: Tensor,
        final: Prediction,
        frame: DaqFrame,
        kept: Kept,
    ) -> Tracks:
        """What goes into the next frame. Tracks that were not seen keep their anchors."""
        seats = kept.seats
        positions = self.positions(final.mask_logits[0, seats.rows], frame)
        new = len(seats.rows) - len(kept.older.rows)
        anchors = anchors.take(kept.older.rows).extended(new).updated(positions, kept.seen)
        return Tracks(
            seats.seat(last[0]),
            Anchors(*(seats.settle(x) for x in anchors)),
            seats.settle(kept.absent),
            seats.settle(kept.number, -1),
            kept.born,
        )


def foreground(class_logits: Tensor) -> Tensor:
    """Probability (…,) of the likeliest class that is not no-object, of logits (…, C+1)."""
    return class_logits.detach().float().softmax(-1)[..., :-1].amax(-1)


def _kept_alive(final: Prediction, unused: list[Prediction]) -> Prediction:
    """The same prediction, depending on unused ones, so that no tracer leaves them out; see
    ``videomt_bench.models.cavis.kept_alive``, where all have the same queries."""
    nothing = sum(
        p.class_logits.clamp(0, 0).sum() + p.mask_logits[..., 0, 0].clamp(0, 0).sum()
        for p in unused
    )
    return Prediction(final.class_logits + nothing, final.mask_logits)


def _joined(outputs: list[FrameOutput], source: FrameOutput | None) -> FrameOutput:
    """The outputs of single streams as one."""

    layers = zip(*(o.intermediate for o in outputs), strict=True)
    return FrameOutput(
        torch.cat([o.class_logits for o in outputs]),
        torch.cat([o.mask_logits for o in outputs]),
        queries=torch.cat([o.queries for o in outputs]),
        embeddings=torch.cat([o.embeddings for o in outputs]),
        intermediate=tuple(
            Prediction(
                torch.cat([p.class_logits for p in x]), torch.cat([p.mask_logits for p in x])
            )
            for x in layers
        ),
        source=source,
        tracks=torch.cat([o.tracks for o in outputs if o.tracks is not None]),
        anchors=torch.cat([o.anchors for o in outputs if o.anchors is not None]),
    )
