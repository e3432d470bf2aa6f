"""The streaming contract: state is a value that goes in and comes out, never a hidden attribute.

Symbols: B streams (batch), T frames, Q queries, C classes, D query width, H × W input pixels,
h × w = H/4 × W/4 mask logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from videomt_bench.errors import BenchError

State = Any
"""What lasts between frames: tensors in any nesting of tuples, lists and dicts."""


@dataclass
class Prediction:
    """Class logits (B, Q, C+1), the last column being no-object, and mask logits (B, Q, h, w)."""

    class_logits: Tensor
    mask_logits: Tensor


@dataclass
class FrameFeatures:
    """What ``encode`` knows of frames, without time: named maps whose first axis is the frame."""

    maps: dict[str, Tensor]
    size: tuple[int, int]
    """Input height and width in pixels."""

    def select(self, frames: slice) -> FrameFeatures:
        """The features of some of the frames."""
        return replace(self, maps={name: value[frames] for name, value in self.maps.items()})


@dataclass
class FrameOutput(Prediction):
    """One frame, decoded."""

    queries: Tensor
    """Output queries (B, Q, D) before the final norm."""
    embeddings: Tensor
    """Output queries (B, Q, D) after the final norm, as the heads read them."""
    intermediate: tuple[Prediction, ...] = ()
    """Predictions before each of the last blocks, in training only (deep supervision)."""
    mask_features: Tensor | None = None
    """The map (B, D, h, w) whose inner product with the mask embeddings gives the mask logits."""
    pixels: Tensor | None = None
    """What ``DefersMasks.masks`` needs of this frame (B, h, w, D), where masks are deferred."""
    identity: Tensor | None = None
    """Re-identification embeddings (B, Q, E) of a tracker that has them, in segmenter order."""
    reference: Tensor | None = None
    """What a tracker looked for in this frame (B, Q, D); None where it has no such thing."""
    order: Tensor | None = None
    """Segmenter query (B, Q) from which a tracker started each of its slots."""
    source: FrameOutput | None = None
    """The segmenter's own output, in its own order, where a tracker predicts anew."""
    tracks: Tensor | None = None
    """Number (B, Q) of the track in each slot, -1 for none, where a slot is not one track for ever:
    numbers count the tracks of a stream from 0."""
    anchors: Tensor | None = None
    """Where the tracks of the slots are looked for next (B, Q, D), of a tracker that has places."""
    entered: Tensor | None = None
    """The queries (B, Q, D) that entered the frame."""
    frame_queries: Tensor | None = None
    """The segmenter's queries (B, N, d) as a tracker read them; see ``Tracker.to_refine``."""

    def reorder(self, permutation: Tensor) -> FrameOutput:
        """The same output with query ``permutation[b, i]`` in slot i; ``permutation`` is (B, Q)."""

        def take(x: Tensor) -> Tensor:
            index = permutation.reshape(*permutation.shape, *[1] * (x.dim() - 2))
            return x.gather(1, index.expand(-1, -1, *x.shape[2:]))

        return replace(
            self,
            class_logits=take(self.class_logits),
            mask_logits=self.mask_logits if self.pixels is not None else take(self.mask_logits),
            queries=take(self.queries),
            embeddings=take(self.embeddings),
            intermediate=tuple(
                Prediction(take(p.class_logits), take(p.mask_logits)) for p in self.intermediate
            ),
        )


@dataclass
class ClipPrediction:
    """Class logits (B, T, Q, C+1) and mask logits (B, T, Q, h, w)."""

    class_logits: Tensor
    mask_logits: Tensor


@dataclass
class ClipOutput(ClipPrediction):
    """The outputs of the frames of a clip, stacked along T."""

    queries: Tensor
    embeddings: Tensor
    intermediate: tuple[ClipPrediction, ...] = ()
    mask_features: Tensor | None = None
    """(B, T, D, h, w), where there are identities to learn or tracks to refine, otherwise None."""
    pixels: Tensor | None = None
    """(B, T, h, w, D), where masks are deferred."""
    identity: Tensor | None = None
    reference: Tensor | None = None
    order: Tensor | None = None
    source: ClipOutput | None = None
    tracks: Tensor | None = None
    anchors: Tensor | None = None
    frame_queries: Tensor | None = None

    @staticmethod
    def stack(outputs: Sequence[FrameOutput]) -> ClipOutput:
        """Stack frame outputs along a new time axis; what some frame lacks is left out."""

        def along_time(predictions: Sequence[Prediction]) -> tuple[Tensor, Tensor]:
            classes = torch.stack([p.class_logits for p in predictions], 1)
            masks = torch.stack([p.mask_logits for p in predictions], 1)
            return classes, masks

        def optional(name: str) -> Tensor | None:
            values = [getattr(o, name) for o in outputs]
            return None if any(v is None for v in values) else torch.stack(values, 1)

        layers = zip(*(o.intermediate for o in outputs), strict=True)
        sources = [o.source for o in outputs if o.source is not None]
        identity, frame_queries = optional("identity"), optional("frame_queries")
        unread = identity is None and frame_queries is None
        return ClipOutput(
            *along_time(outputs),
            queries=torch.stack([o.queries for o in outputs], 1),
            embeddings=torch.stack([o.embeddings for o in outputs], 1),
            intermediate=tuple(ClipPrediction(*along_time(layer)) for layer in layers),
            mask_features=None if unread else optional("mask_features"),
            pixels=optional("pixels"),
            identity=identity,
            reference=optional("reference"),
            order=optional("order"),
            source=ClipOutput.stack(sources) if len(sources) == len(outputs) else None,
            tracks=optional("tracks"),
            anchors=optional("anchors"),
            frame_queries=frame_queries,
        )


@dataclass
class VideoState:
    """Everything a stream carries from one frame to the next."""

    memory: State
    tracker: State


class FrameSegmenter(nn.Module, ABC):
    """Segments single frames from queries; knows nothing of time."""

    dim: int
    """Query width D."""
    num_classes: int
    """C, without no-object."""
    stride: int
    """Height and width of an input must be multiples of it."""

    @abstractmethod
    def encode(self, frames: Tensor) -> FrameFeatures:
        """Normalised frames (N, 3, H, W) -> features of N frames, of whichever streams."""

    @abstractmethod
    def decode(
        self, features: FrameFeatures, queries: Tensor, slots: Tensor | None = None
    ) -> FrameOutput:
        """Features of B frames and the queries (B, Q, D) that enter them -> predictions.

        ``slots`` (B, Q) says for which learned query each of them stands, and is -1 where a query
        is only padding, which no other may see. None: all are there, and query i stands for i.
        """

    def anneal_masks(self, progress: float) -> None:
        """Set masked attention for a training progress in 0..1, where a segmenter anneals it."""


class DefersMasks(ABC):
    """A segmenter whose masks can be made later, of the queries that turn out to be results.

    The score of a query is known at the end of a video only, and few queries have one that counts.
    """

    @abstractmethod
    def decode_classes(self, features: FrameFeatures, queries: Tensor) -> FrameOutput:
        """As ``decode`` in evaluation, with ``pixels`` and with no mask logits: (B, 0, h, w)."""

    @abstractmethod
    def masks(self, embeddings: Tensor, pixels: Tensor) -> Tensor:
        """Embeddings (N, K, D) of N frames and their pixels -> mask logits (N, K, ., .)."""


class QueryMemory(nn.Module, ABC):
    """Decides which queries enter a frame."""

    reads_masks = True
    """Whether ``update`` looks at mask logits or mask features; False lets masks be deferred."""
    state_varies = False
    """Whether the size of the state changes within a stream, as that of a variable set does."""

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """The state of ``batch`` streams before their first frame."""

    @abstractmethod
    def queries(self, state: State) -> Tensor:
        """The queries (B, Q, D) that enter the next frame."""

    def slots(self, state: State) -> Tensor | None:
        """For which learned query each of ``queries`` stands; see ``FrameSegmenter.decode``.

        Only a memory whose queries vary in number has to say it.
        """
        return None

    @abstractmethod
    def update(self, state: State, output: FrameOutput) -> State:
        """The state after a frame whose segmenter output is ``output``."""

    def detach(self, state: State) -> State:
        """The same state, cut from the graph: truncated back-propagation for every memory."""
        return detach(state)


class Tracker(nn.Module, ABC):
    """Turns frame outputs into tracks: slot i of every aligned output is the same object."""

    dim: int | None = None
    """Width of the queries that it gives; None: the segmenter's."""
    reads_masks = True
    """Whether ``track`` looks at mask logits or mask features; False lets masks be deferred."""
    numbers_tracks = False
    """Whether tracks begin and end, so that slots are used again: ``FrameOutput.tracks``."""
    shortest = 1
    """Frames of a numbered track that is a result, unless the video ends with it."""

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """The state of ``batch`` streams before their first frame."""

    @abstractmethod
    def track(
        self, output: FrameOutput, features: FrameFeatures, state: State
    ) -> tuple[FrameOutput, State]:
        """Align the output of one frame; returns it with the next state."""

    def detach(self, state: State) -> State:
        """The same state, cut from the graph."""
        return detach(state)

    def to_refine(self, output: ClipOutput) -> tuple[Tensor, ...]:
        """What is kept of some frames of a video for a refiner, see ``whole_video``.

        Raises:
            BenchError: nothing of this tracker can be refined.
        """
        raise BenchError(
            f"a refiner cannot follow {type(self).__name__}; it needs a tracker with to_refine()"
        )

    def whole_video(self, parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
        """What a refiner reads: tracks (B, T, Q, d) and queries of the segmenter (B, T, N, d).

        ``parts`` are what ``to_refine`` gave of the parts of the videos; by default just these two.
        """
        tracks, memory = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return tracks, memory

    def image_stage(self) -> Tracker | None:
        """What of the tracker learns together with the segmenter, as a tracker of its own.

        Its parameters are those of this tracker under the same names. None: nothing does.
        """
        return None


@dataclass
class Cost:
    """What a part adds that an operator counter cannot see."""

    macs: float = 0.0
    """Multiply-accumulates per frame outside counted operators."""
    notes: list[str] = field(default_factory=list)


def detach(state: State) -> State:
    """Detach every tensor of a state; dataclasses are followed too."""
    if hasattr(state, "__dataclass_fields__"):
        return replace(state, **{f.name: detach(getattr(state, f.name)) for f in fields(state)})
    return tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, state)
