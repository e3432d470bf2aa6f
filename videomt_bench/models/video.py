"""The three-slot model: a frame segmenter, a query memory and a tracker, run over a stream."""

from __future__ import annotations

from torch import Tensor, nn

from videomt_bench.models.contracts import (
    ClipOutput,
    DefersMasks,
    FrameFeatures,
    FrameOutput,
    FrameSegmenter,
    QueryMemory,
    State,
    Tracker,
    VideoState,
)
from videomt_bench.models.refiner import TemporalRefiner
from videomt_bench.models.trackers import QueryIndex


class VideoSegmenter(nn.Module):
    """An online video segmenter. One instance serves many streams: their state is the caller's.

    Args:
        segmenter: frames and queries -> predictions.
        memory: which queries enter a frame.
        tracker: how predictions become tracks; by default the query index is the track.
        refiner: goes over the tracks of a whole video once more, see ``OfflineVideo``. The stream
            itself never runs it.
    """

    def __init__(
        self,
        segmenter: FrameSegmenter,
        memory: QueryMemory,
        tracker: Tracker | None = None,
        refiner: TemporalRefiner | None = None,
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.memory = memory
        self.tracker = tracker if tracker is not None else QueryIndex()
        self.refiner = refiner

    def init_state(self, batch: int = 1) -> VideoState:
        """The state of ``batch`` streams before their first frame."""
        return VideoState(self.memory.init_state(batch), self.tracker.init_state(batch))

    def detach(self, state: VideoState) -> VideoState:
        """Cut a state from the graph, so that gradients stop here."""
        return VideoState(self.memory.detach(state.memory), self.tracker.detach(state.tracker))

    @property
    def defers_masks(self) -> bool:
        """Whether masks can be made after a video, by ``segmenter.masks``: nothing needs them."""
        reads = self.memory.reads_masks or self.tracker.reads_masks
        return isinstance(self.segmenter, DefersMasks) and not reads

    def step(
        self, frame: Tensor, state: VideoState, masks: bool = True
    ) -> tuple[FrameOutput, VideoState]:
        """One frame (B, 3, H, W) of B streams -> its aligned output and the next state.

        Without ``masks`` they are deferred: the model must do so, in evaluation mode.
        """
        return self.advance(self.encode(frame), state, masks)

    def forward(
        self, clip: Tensor, state: VideoState | None = None, masks: bool = True
    ) -> tuple[ClipOutput, VideoState]:
        """A clip (B, T, 3, H, W): encoded as one batch, decoded frame by frame.

        Gives what T calls of ``step`` give; passing the returned state on continues the stream.
        """
        batch, length = clip.shape[:2]
        state = self.init_state(batch) if state is None else state
        features = self.encode(clip.flatten(0, 1))
        outputs = []
        for t in range(length):
            output, state = self.advance(features.select(slice(t, None, length)), state, masks)
            outputs.append(output)
        return ClipOutput.stack(outputs), state

    def encode(self, frames: Tensor) -> FrameFeatures:
        """Frames (N, 3, H, W) of any streams -> their features, without time."""
        return self.segmenter.encode(frames)

    def advance(
        self, features: FrameFeatures, state: VideoState, masks: bool = True
    ) -> tuple[FrameOutput, VideoState]:
        """The rest of ``step``: from the features of a frame."""
        output, memory = self.segment(features, state.memory, masks)
        aligned, tracker = self.tracker.track(output, features, state.tracker)
        return aligned, VideoState(memory, tracker)

    def segment(
        self, features: FrameFeatures, memory: State, masks: bool = True
    ) -> tuple[FrameOutput, State]:
        """What of ``advance`` comes before the tracker: its input, and the memory's next state."""
        queries = self.memory.queries(memory)
        if masks:
            slots = self.memory.slots(memory)
            varying = () if slots is None else (slots,)
            output = self.segmenter.decode(features, queries, *varying)
        else:
            assert isinstance(self.segmenter, DefersMasks)
            output = self.segmenter.decode_classes(features, queries)
        output.entered = queries
        return output, self.memory.update(memory, output)
