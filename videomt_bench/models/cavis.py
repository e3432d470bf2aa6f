"""CAVIS's tracker: a transformer looks for the objects of the previous frame among the queries of
this one, by context-aware features (Lee et al., "Context-aware video instance segmentation",
ICCV 2025).

Symbols: B streams, Q queries and slots, D segmenter width, d tracker width, u the width of what
queries are matched by, h × w mask logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from videomt_bench.errors import BenchError
from videomt_bench.models.context import Appearance, ContextFilter
from videomt_bench.models.contracts import (
    ClipOutput,
    Cost,
    FrameFeatures,
    FrameOutput,
    Prediction,
    State,
    Tracker,
)
from videomt_bench.models.heads import PredictionHeads
from videomt_bench.models.referring import ReferringLayer
from videomt_bench.models.trackers import match_embeddings, take_slots
from videomt_bench.models.variant import SlotSizes


class TrackState(NamedTuple):
    """What the tracker keeps of the previous frame, in the order of its slots."""

    queries: Tensor
    """Its output and the identity nearest to it (B, Q, u): what is looked for next."""
    embeddings: Tensor
    """The segmenter's queries, normalised, and their identities (B, Q, u): what is matched next."""


class Described(NamedTuple):
    """The segmenter's queries of one frame as the tracker reads them, all in segmenter order."""

    queries: Tensor
    """(B, Q, d), before the segmenter's final norm."""
    embeddings: Tensor
    """(B, Q, d), after it."""
    identity: Tensor | None
    """(B, Q, d); None without re-identification."""
    mask_features: Tensor
    """(B, d, h, w)."""

    @property
    def matched(self) -> Tensor:
        """What queries are told apart by: embedding and identity (B, Q, u)."""
        return joined(self.embeddings, self.identity)


class CavisTracker(Tracker):
    """Finds the objects of the previous frame, and predicts their classes and masks anew.

    A slot is the same object because its query asks for it, and because the first layer's residual
    is the query that continues it by Hungarian matching.

    Args:
        sizes: ``decoder`` has the sizes of the tracker. Queries and mask features of another width
            pass a linear layer and a 1 × 1 convolution first.
        context: the filter of the context features, or "none" for no such features.
        reid: whether queries have identities. Without them the queries themselves are looked for,
            with no layer between, as VidEoMT's ablation has it (Norouzi et al., CVPR 2026).
        unused_heads: in evaluation predict by every layer, as the public code does, though only the
            last layer's prediction is used. The segmenter's prediction is then computed too, where
            nothing reads it and a compiler would leave it out.
        inverse_matching: use the inverse of either permutation, as the public code does. The two
            are the same only where queries stay or swap.

    Raises:
        BenchError: context features without re-identification, which is what reads them.
    """

    component = "tracker"

    def __init__(
        self,
        sizes: SlotSizes,
        *,
        context: ContextFilter | Literal["none"] = "depthwise",
        reid: bool = True,
        unused_heads: bool = False,
        inverse_matching: bool = False,
    ) -> None:
        super().__init__()
        if not reid and context != "none":
            raise BenchError(
                f"context features {context!r} need re-identification, which reads them; "
                "without it the only valid context is 'none'"
            )
        decoder, dim = sizes.decoder, sizes.decoder.dim
        self.dim = dim
        self.unused_heads = unused_heads
        self.inverse_matching = inverse_matching
        same = sizes.dim == dim
        self.query_projection = nn.Identity() if same else nn.Linear(sizes.dim, dim)
        self.map_projection = nn.Identity() if same else nn.Conv2d(sizes.dim, dim, 1)
        self.appearance = Appearance(dim, context, decoder.context_filter) if reid else None
        self.ctx_query_embed = nn.Linear(2 * dim, dim) if reid else nn.Identity()
        self.layers = nn.ModuleList(ReferringLayer(decoder) for _ in range(decoder.tracker_layers))
        self.heads = PredictionHeads(dim, sizes.num_classes)
        # what it costs to predict anew is the tracker's
        self.heads.component = self.component

    def init_state(self, batch: int) -> State:
        return None

    def track(
        self, output: FrameOutput, features: FrameFeatures, state: TrackState | None
    ) -> tuple[FrameOutput, State]:
        frame = describe(output, self.query_projection, self.map_projection, self.appearance)
        order = self._order(frame, state)
        reference = self.ctx_query_embed(frame.matched if state is None else state.queries)
        layers = self._transform(frame, order, reference, first=state is None)
        final, embeddings, intermediate = self._predict(layers, frame.mask_features, output)
        tracked = FrameOutput(
            final.class_logits,
            final.mask_logits,
            queries=layers[-1],
            embeddings=embeddings,
            intermediate=intermediate,
            mask_features=frame.mask_features,
            identity=frame.identity,
            reference=reference,
            order=order,
            source=output if self.training else None,
            frame_queries=frame.queries,
        )
        return tracked, self._state(frame, order, layers[-1])

    def to_refine(self, output: ClipOutput) -> tuple[Tensor, Tensor]:
        """The refiner reads normalised tracks, and the segmenter's queries before their norm."""
        assert output.frame_queries is not None
        return output.embeddings, output.frame_queries

    def image_stage(self) -> Tracker | None:
        if self.appearance is None:
            return None
        return AppearanceTracker(self.query_projection, self.map_projection, self.appearance)

    def cost(self) -> Cost:
        """The assignments run on the processor, and are no multiply-accumulates."""
        count = "one assignment" if self.appearance is None else "two assignments"
        return Cost(notes=[f"{count} of queries per frame on the processor, not counted"])

    def _match(self, reference: Tensor, current: Tensor) -> Tensor:
        permutation = match_embeddings(reference, current)
        return permutation.argsort(-1) if self.inverse_matching else permutation

    def _order(self, frame: Described, state: TrackState | None) -> Tensor:
        """Segmenter query (B, Q) that continues each slot; in the first frame it is the slot."""
        if state is not None:
            return self._match(state.embeddings, frame.matched)
        batch, count = frame.queries.shape[:2]
        return torch.arange(count, device=frame.queries.device).expand(batch, -1)

    def _transform(
        self, frame: Described, order: Tensor, reference: Tensor, first: bool
    ) -> list[Tensor]:
        """Outputs (B, Q, d) of all layers.

        In the first frame nothing is to be found yet: each layer looks for what the layer before it
        has made, with the identity of the segmenter's query.
        """
        key = self.ctx_query_embed(frame.matched)
        x, query = take_slots(frame.embeddings, order), reference
        outputs: list[Tensor] = []
        for layer in self.layers:
            if first and outputs:
                query = self.ctx_query_embed(joined(x, frame.identity))
            x = layer(x, query, key, frame.queries)
            outputs.append(x)
        return outputs

    def _predict(
        self, layers: list[Tensor], mask_features: Tensor, segmented: Prediction
    ) -> tuple[Prediction, Tensor, tuple[Prediction, ...]]:
        """Final prediction, normalised queries of the last layer, predictions of the others."""
        others: tuple[Prediction, ...] = ()
        if self.training or self.unused_heads:
            others = tuple(self.heads(x, mask_features)[0] for x in layers[:-1])
        final, embeddings = self.heads(layers[-1], mask_features)
        if self.training:
            return final, embeddings, others
        if self.unused_heads:
            final = kept_alive(final, (*others, segmented))
        return final, embeddings, ()

    def _state(self, frame: Described, order: Tensor, queries: Tensor) -> TrackState:
        embeddings = take_slots(frame.matched, order).detach()
        if frame.identity is None:
            return TrackState(queries, embeddings)
        nearest = self._match(queries, frame.queries)
        return TrackState(joined(queries, take_slots(frame.identity, nearest)), embeddings)


class AppearanceTracker(Tracker):
    """What of the CAVIS tracker learns together with the segmenter: the identities of queries.

    In training the order of queries is left alone, as the losses of single frames do not see it. In
    evaluation queries are matched, by embedding and identity, to those of the previous frame.

    Args:
        query_projection, map_projection, appearance: the tracker's own.
    """

    component = "tracker"

    def __init__(
        self, query_projection: nn.Module, map_projection: nn.Module, appearance: Appearance
    ) -> None:
        super().__init__()
        self.query_projection = query_projection
        self.map_projection = map_projection
        self.appearance = appearance

    def init_state(self, batch: int) -> State:
        return None

    def track(
        self, output: FrameOutput, features: FrameFeatures, state: Tensor | None
    ) -> tuple[FrameOutput, State]:
        frame = describe(output, self.query_projection, self.map_projection, self.appearance)
        output = replace(output, identity=frame.identity, mask_features=frame.mask_features)
        if self.training:
            return output, state
        if state is None:
            return output, frame.matched
        order = match_embeddings(state, frame.matched)
        return replace(output.reorder(order), order=order), take_slots(frame.matched, order)


def describe(
    output: FrameOutput,
    query_projection: nn.Module,
    map_projection: nn.Module,
    appearance: Appearance | None,
) -> Described:
    """A segmenter's output in the widths of a tracker, with identities where it has them.

    Raises:
        BenchError: the segmenter does not give its mask features.
    """
    if output.mask_features is None:
        raise BenchError(
            "a segmenter that gives no mask_features cannot go with this tracker; "
            "valid are those whose FrameOutput has them"
        )
    queries, embeddings = query_projection(output.queries), query_projection(output.embeddings)
    mask_features = map_projection(output.mask_features)
    identity = None
    if appearance is not None:
        identity = appearance(embeddings, output.mask_logits, mask_features)
    return Described(queries, embeddings, identity, mask_features)


def joined(queries: Tensor, identity: Tensor | None) -> Tensor:
    """Queries (B, Q, d) and their identities side by side; without any the queries alone."""
    return queries if identity is None else torch.cat([queries, identity], dim=-1)


def kept_alive(final: Prediction, unused: tuple[Prediction, ...]) -> Prediction:
    """The same prediction, depending on unused ones, so that no compiler or tracer leaves them out.

    What is added is zero: clamping makes it so for infinite logits too.
    """
    classes = final.class_logits
    for prediction in unused:
        pixel = prediction.mask_logits[..., 0, 0, None]
        classes = classes + prediction.class_logits.clamp(0, 0) + pixel.clamp(0, 0)
    return replace(final, class_logits=classes)
