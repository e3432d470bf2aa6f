"""Semantic predictions of whole videos: a class for every pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from videomt_bench.evaluation.stream import VideoOutputs
from videomt_bench.models.postprocess import class_map, resize_probabilities


def semantic_video(outputs: VideoOutputs, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Class indices, uint8 (H, W), frame after frame, of a video that was run alone.

    Args:
        outputs: of one video.
        size: height and width of the result.
    """
    logits, online = outputs.class_logits[0], outputs.online_of()
    for (frame,) in outputs.masks([torch.arange(len(logits))]):
        masks = resize_probabilities(frame[None], outputs.padded, outputs.inner, size)[0]
        told = None if online is None else online.to(masks.device)
        classes = class_map(masks, logits.to(masks.device), told)
        yield classes.cpu().numpy().astype(np.uint8)
