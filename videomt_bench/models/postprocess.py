"""From the query outputs of a video to what a benchmark scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

NO_MASK = -1e4
"""Mask logit of a track in a frame without it."""


@dataclass(frozen=True)
class TopK:
    """The best (query, class) pairs of a video, best first; a query may appear several times."""

    scores: Tensor
    labels: Tensor
    queries: Tensor


def class_probabilities(class_logits: Tensor, online: Tensor | None = None) -> Tensor:
    """Softmax of class logits (Q, C+1); of two predictors, the larger of both probabilities."""
    probabilities = class_logits.softmax(-1)
    return probabilities if online is None else probabilities.maximum(online.softmax(-1))


def top_k(class_logits: Tensor, k: int, online: Tensor | None = None) -> TopK:
    """Rank (query, class) pairs by probability; no-object is left out after the softmax.

    Args:
        class_logits: (Q, C+1), averaged over the frames of the video.
        k: how many pairs to keep, at most Q·C.
        online: those that a refiner was given; see ``class_probabilities``.
    """
    probabilities = class_probabilities(class_logits, online)[:, :-1]
    scores, flat = probabilities.flatten().topk(min(k, probabilities.numel()))
    classes = probabilities.shape[1]
    return TopK(scores, flat % classes, flat.div(classes, rounding_mode="floor"))


def resize_logits(
    mask_logits: Tensor, padded: tuple[int, int], inner: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Mask logits (N, K, h, w) -> (N, K, *size): to the padded input, crop to ``inner``, resize."""
    masks = interpolate(mask_logits, padded, mode="bilinear", align_corners=False)
    masks = masks[..., : inner[0], : inner[1]]
    if size == inner:
        return masks
    return interpolate(masks, size, mode="bilinear", align_corners=False)


def resize_probabilities(
    mask_logits: Tensor, padded: tuple[int, int], inner: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """As ``resize_logits``, with the sigmoid between the two resizes, as panoptic and semantic
    segmentation have it."""
    masks = interpolate(mask_logits, padded, mode="bilinear", align_corners=False)
    masks = masks[..., : inner[0], : inner[1]].sigmoid()
    if size == inner:
        return masks
    return interpolate(masks, size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Kept:
    """Queries that may become segments: scores (K,), labels (K,) and query indices (K,)."""

    scores: Tensor
    labels: Tensor
    queries: Tensor


def confident_queries(class_logits: Tensor, threshold: float, online: Tensor | None = None) -> Kept:
    """Queries whose most likely class is not no-object and has more than ``threshold``.

    Args:
        class_logits: (Q, C+1), averaged over the frames of the video.
        threshold: of the probability, in 0..1.
        online: those that a refiner was given; see ``class_probabilities``.
    """
    scores, labels = class_probabilities(class_logits, online).max(-1)
    kept = ((labels < class_logits.shape[-1] - 1) & (scores > threshold)).nonzero()[:, 0]
    return Kept(scores[kept], labels[kept], kept)


def winners(probabilities: Tensor, scores: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Which of K queries wins each pixel, and where each query's mask is.

    Args:
        probabilities: mask probabilities (K, H, W), K at least 1.
        scores: class probabilities (K,).
        threshold: a mask is where its probability is at least this.

    Returns:
        the index of the winner (H, W), and the masks (K, H, W).
    """
    best = (probabilities * scores[:, None, None]).argmax(0)
    return best, probabilities >= threshold


def class_map(
    mask_probabilities: Tensor, class_logits: Tensor, online: Tensor | None = None
) -> Tensor:
    """The most likely class of every pixel (H, W): the queries' classes, weighted by their masks.

    Args:
        mask_probabilities: (Q, H, W).
        class_logits: (Q, C+1), averaged over the frames of the video.
        online: those that a refiner was given; see ``class_probabilities``.
    """
    classes = class_probabilities(class_logits, online)[:, :-1]
    return torch.einsum("qc,qhw->chw", classes, mask_probabilities).argmax(0)
