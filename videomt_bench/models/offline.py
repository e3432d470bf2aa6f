"""Offline use of a model with a refiner: the online model first, then all frames at once.

This is how the refiner learns, from clips. Evaluation does the same with videos of any length in
windows, see ``videomt_bench.evaluation.offline``.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import (
    ClipOutput,
    ClipPrediction,
    FrameOutput,
    VideoState,
)
from videomt_bench.models.refiner import Refined, TemporalRefiner
from videomt_bench.models.video import VideoSegmenter


class OfflineVideo(VideoSegmenter):
    """A model whose outputs of a clip are the refined ones; its modules are those of ``model``.

    The clip is a whole video: nothing of it goes on with the state that is returned.

    Args:
        model: one with a refiner.

    Raises:
        BenchError: it has none.
    """

    def __init__(self, model: VideoSegmenter) -> None:
        if model.refiner is None:
            raise BenchError(
                "a model without a refiner cannot work offline; use an offline variant"
            )
        super().__init__(model.segmenter, model.memory, model.tracker, model.refiner)

    def step(
        self, frame: Tensor, state: VideoState, masks: bool = True
    ) -> tuple[FrameOutput, VideoState]:
        """Raises BenchError: a single frame is no video."""
        raise BenchError("an offline model takes whole clips, not single frames")

    def forward(
        self, clip: Tensor, state: VideoState | None = None, masks: bool = True
    ) -> tuple[ClipOutput, VideoState]:
        """A clip (B, T, 3, H, W) -> refined output, whose source is the online one in track order.

        The class logits of a track are the same in all frames.
        """
        assert self.refiner is not None
        online, state = super().forward(clip, state)
        tracks, memory = self.tracker.whole_video([self.tracker.to_refine(online)])
        refined = refined_output(self.refiner, self.refiner(tracks, memory), online)
        if self.tracker.numbers_tracks:
            # its rows are chosen tracks, not the slots of the online output
            refined = replace(refined, queries=tracks, order=None, source=None)
        return refined, state


def refined_output(
    refiner: TemporalRefiner, layers: tuple[Refined, ...], online: ClipOutput
) -> ClipOutput:
    """The refiner's predictions of a clip in the form of a model's.

    Args:
        refiner: makes the masks.
        layers: what it gave; the last one is final.
        online: what it was given.
    """
    features, length = online.mask_features, online.class_logits.shape[1]
    assert features is not None
    flat = features.flatten(0, 1)

    def prediction(layer: Refined) -> tuple[Tensor, Tensor]:
        masks = refiner.masks(layer.mask_embeddings.flatten(0, 1), flat)
        classes = layer.class_logits[:, None].expand(-1, length, -1, -1)
        return classes, masks.unflatten(0, features.shape[:2])

    *others, final = [prediction(layer) for layer in layers]
    batch, _, count = online.class_logits.shape[:3]
    order = torch.arange(count, device=flat.device).expand(batch, length, -1)
    return ClipOutput(
        *final,
        queries=online.queries,
        embeddings=layers[-1].embeddings,
        intermediate=tuple(ClipPrediction(*other) for other in others),
        order=order,
        source=replace(online, source=None, intermediate=()),
    )
