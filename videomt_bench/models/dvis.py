"""The referring trackers of DVIS (Zhang et al., "DVIS: Decoupled video instance segmentation
framework", ICCV 2023) and DVIS++ (Zhang et al., arXiv 2312.13305): a transformer looks for the
objects of the previous frame among the queries of this one.

Symbols: B streams, Q queries and slots, D segmenter width, d the trackers' width, h × w mask
logits, m channels of the mask features.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from videomt_bench.models.cavis import AppearanceTracker, TrackState, describe, joined
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
from videomt_bench.models.heads import MLP, PredictionHeads, c2_xavier
from videomt_bench.models.noise import NoiseMode, QueryNoise
from videomt_bench.models.referring import ReferringLayer
from videomt_bench.models.trackers import match_embeddings, take_slots
from videomt_bench.models.variant import SlotSizes


class Sought(NamedTuple):
    """What the tracker reads of one frame, in segmenter order."""

    queries: Tensor
    """(B, Q, d), among which objects are sought."""
    matched: Tensor
    """(B, Q, d), by which queries are told apart."""
    identity: Tensor | None
    """(B, Q, m) of a tracker with re-identification."""
    mask_features: Tensor
    """(B, m, h, w), the segmenter's in the width of the decoder."""


class DvisTracker(Tracker):
    """DVIS: finds the objects of the previous frame, and predicts their classes and masks anew.

    The layers' queries are what became of each object in the previous frame; the first layer's
    residual is the query that continues it by Hungarian matching. There is no noise and no
    re-identification. Queries and mask features of another width than the decoder's pass a linear
    layer and a 1 × 1 convolution first.

    Args:
        sizes: ``decoder`` has the sizes of the tracker.
        inverse_matching: use the inverse of the permutation, as the public code of DVIS does. The
            two are the same only where queries stay or swap.
    """

    component = "tracker"
    widening = 1
    """d over the width of the decoder."""
    reads_reference = False
    """Whether the class heads read what was looked for, which then has a loss of its own."""
    noise = QueryNoise()

    def __init__(self, sizes: SlotSizes, *, inverse_matching: bool = False) -> None:
        super().__init__()
        decoder, width = sizes.decoder, sizes.decoder.dim
        dim = width * self.widening
        self.dim = dim
        self.inverse_matching = inverse_matching
        same = sizes.dim == width
        self.query_projection = nn.Identity() if same else nn.Linear(sizes.dim, width)
        self.map_projection = nn.Identity() if same else nn.Conv2d(sizes.dim, width, 1)
        self.ref_proj: nn.Module = nn.Identity()
        self.mask_feature_proj: nn.Module = nn.Identity()
        own = replace(decoder, dim=dim)
        self.layers = nn.ModuleList(ReferringLayer(own) for _ in range(decoder.tracker_layers))
        told = dim if self.reads_reference else 0
        self.heads = PredictionHeads(dim, sizes.num_classes, width, told)
        # what it costs to predict anew is the tracker's
        self.heads.component = self.component

    def init_state(self, batch: int) -> State:
        return None

    def track(
        self, output: FrameOutput, features: FrameFeatures, state: TrackState | None
    ) -> tuple[FrameOutput, State]:
        frame = self._read(output)
        start, order = self._start(frame, state)
        reference = self.ref_proj(frame.queries if state is None else state.queries)
        layers = self._transform(frame.queries, start, reference, first=state is None)
        final, embeddings, others = self._predict(layers, reference, frame.mask_features)
        tracked = FrameOutput(
            final.class_logits,
            final.mask_logits,
            queries=layers[-1],
            embeddings=embeddings,
            intermediate=others,
            mask_features=frame.mask_features,
            identity=frame.identity,
            reference=reference if self.reads_reference else None,
            order=order,
            source=output if self.training else None,
            frame_queries=frame.queries,
        )
        return tracked, TrackState(layers[-1], take_slots(frame.matched, order).detach())

    def to_refine(self, output: ClipOutput) -> tuple[Tensor, Tensor]:
        """The refiner of DVIS reads normalised tracks, and queries that passed the tracker's layers
        as those of a first frame do."""
        assert output.frame_queries is not None
        queries = output.frame_queries.flatten(0, 1)
        made = self._transform(queries, queries, self.ref_proj(queries), first=True)[-1]
        memory = self.heads.norm(made).unflatten(0, output.frame_queries.shape[:2])
        return output.embeddings, memory

    def cost(self) -> Cost:
        """The assignment runs on the processor, and is no multiply-accumulate."""
        return Cost(notes=["one assignment of queries per frame on the processor, not counted"])

    def _read(self, output: FrameOutput) -> Sought:
        frame = describe(output, self.query_projection, self.map_projection, None)
        return Sought(frame.embeddings, frame.embeddings, None, frame.mask_features)

    def _start(self, frame: Sought, state: TrackState | None) -> tuple[Tensor, Tensor]:
        """The first residual (B, Q, d), and the query (B, Q) that it stands for."""
        if state is None:
            batch, count = frame.queries.shape[:2]
            order = torch.arange(count, device=frame.queries.device).expand(batch, -1)
            return frame.queries, order
        order = match_embeddings(state.embeddings, frame.matched)
        if self.inverse_matching:
            order = order.argsort(-1)
        if self.training:
            return self.noise(frame.queries, order)
        return take_slots(frame.queries, order), order

    def _transform(
        self, queries: Tensor, start: Tensor, reference: Tensor, first: bool
    ) -> list[Tensor]:
        """Outputs (B, Q, d) of all layers.

        In the first frame nothing is to be found yet: each layer looks for what the layer before it
        has made.
        """
        x, query = start, reference
        outputs: list[Tensor] = []
        for layer in self.layers:
            if first and outputs:
                query = self.ref_proj(x)
            x = layer(x, query, queries, queries)
            outputs.append(x)
        return outputs

    def _predict(
        self, layers: list[Tensor], reference: Tensor, mask_features: Tensor
    ) -> tuple[Prediction, Tensor, tuple[Prediction, ...]]:
        """Final prediction, normalised queries of the last layer, predictions of the others."""
        read = reference if self.reads_reference else None
        features = self.mask_feature_proj(mask_features)
        predict = partial(self.heads, mask_features=features, reference=read)
        learned = layers[:-1] if self.training else []
        return *predict(layers[-1]), tuple(predict(x)[0] for x in learned)


class DvisPlusTracker(DvisTracker):
    """DVIS++: a query is found by itself and its identity, so the tracker is twice as wide.

    What is looked for passes an MLP, and the class head reads it beside the output. In training
    slots may start from the wrong queries, which also are what the next frame is aligned to.

    Args:
        sizes: ``decoder`` has the sizes of the tracker, whose width is twice ``decoder.dim``.
        noise, noise_ratio: see ``QueryNoise``.
    """

    widening = 2
    reads_reference = True

    def __init__(
        self, sizes: SlotSizes, *, noise: NoiseMode = "wa", noise_ratio: float = 0.5
    ) -> None:
        super().__init__(sizes)
        width = sizes.decoder.dim
        dim = width * self.widening
        self.noise = QueryNoise(noise, noise_ratio)
        self.appearance = Appearance(width, "none")
        self.ref_proj = c2_xavier(MLP(dim, dim, dim, 3))
        self.mask_feature_proj = nn.Conv2d(width, width, 1)

    def image_stage(self) -> Tracker | None:
        return AppearanceTracker(self.query_projection, self.map_projection, self.appearance)

    def to_refine(self, output: ClipOutput) -> tuple[Tensor, Tensor]:
        """The refiner of DVIS++ reads tracks before their norm, and the queries as they are."""
        assert output.frame_queries is not None
        return output.queries, output.frame_queries

    def _read(self, output: FrameOutput) -> Sought:
        frame = describe(output, self.query_projection, self.map_projection, self.appearance)
        queries = joined(frame.queries, frame.identity)
        return Sought(queries, frame.matched, frame.identity, frame.mask_features)
