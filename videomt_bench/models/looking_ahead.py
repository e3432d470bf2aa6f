"""Semi-online and offline use of any online model: a second pass, backwards in time.

The papers' models are online: what they say of a frame stands as soon as it is seen. Where a delay
is allowed, a query that found its object late knows it in the frames before as well: from the state
at the end of a block of frames the same model goes back to its beginning, and both passes count.
A track keeps its query, so nothing has to be linked. There is nothing to train.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import ClipOutput, FrameFeatures, FrameOutput, VideoState
from videomt_bench.models.video import VideoSegmenter


class LookingAhead(VideoSegmenter):
    """A model for evaluation whose outputs are means of a pass forwards and one backwards.

    A clip is taken in blocks of ``look_ahead`` + 1 frames, so the first frame of a block is seen
    with ``look_ahead`` later ones. The stream goes on from the end of the pass forwards, as it
    would without this; encoding is done once. Its modules are those of ``model``.

    Args:
        model: any variant.
        look_ahead: frames; None makes the whole clip one block, which is the offline mode.

    Raises:
        BenchError: a negative look-ahead, or a model whose tracks begin and end: slots of the two
            passes are not the same tracks.
    """

    def __init__(self, model: VideoSegmenter, look_ahead: int | None) -> None:
        if look_ahead is not None and look_ahead < 0:
            raise BenchError(f"a look-ahead of {look_ahead} frames; it must be at least 0, or None")
        if model.tracker.numbers_tracks:
            raise BenchError(
                f"a model with {type(model.tracker).__name__}, whose tracks begin and end, cannot "
                "look ahead; the only valid look-ahead is 0"
            )
        super().__init__(model.segmenter, model.memory, model.tracker, model.refiner)
        self.look_ahead = look_ahead

    @property
    def defers_masks(self) -> bool:
        return False

    def step(
        self, frame: Tensor, state: VideoState, masks: bool = True
    ) -> tuple[FrameOutput, VideoState]:
        """Raises BenchError: a single frame has nothing ahead."""
        raise BenchError("a model that looks ahead takes clips, not single frames")

    def forward(
        self, clip: Tensor, state: VideoState | None = None, masks: bool = True
    ) -> tuple[ClipOutput, VideoState]:
        """A clip (B, T, 3, H, W), whose blocks begin with its first frame."""
        batch, length = clip.shape[:2]
        state = self.init_state(batch) if state is None else state
        features = self.encode(clip.flatten(0, 1))
        frames = [features.select(slice(t, None, length)) for t in range(length)]
        size = length if self.look_ahead is None else self.look_ahead + 1
        outputs: list[FrameOutput] = []
        for start in range(0, length, size):
            block, state = self._block(frames[start : start + size], state)
            outputs += block
        return ClipOutput.stack(outputs), state

    def _block(
        self, frames: list[FrameFeatures], state: VideoState
    ) -> tuple[list[FrameOutput], VideoState]:
        outputs = []
        for features in frames:
            output, state = self.advance(features, state)
            outputs.append(output)
        going_back = state
        for t in reversed(range(len(frames) - 1)):
            output, going_back = self.advance(frames[t], going_back)
            outputs[t] = _mean(outputs[t], output)
        return outputs, state


def _mean(a: FrameOutput, b: FrameOutput) -> FrameOutput:
    """Class and mask logits averaged; the rest is that of ``a``."""
    return replace(
        a,
        class_logits=(a.class_logits + b.class_logits) / 2,
        mask_logits=(a.mask_logits + b.mask_logits) / 2,
    )
