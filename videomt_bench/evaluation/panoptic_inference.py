"""Panoptic predictions of whole videos: one id per segment through the video, 0 for void."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from videomt_bench.evaluation.stream import VideoOutputs
from videomt_bench.models.postprocess import Kept, confident_queries, resize_probabilities, winners


@dataclass(frozen=True)
class PanopticSettings:
    """Thresholds of the published protocol; classes below ``things`` are things, the rest stuff."""

    things: int
    class_threshold: float = 0.8
    overlap_threshold: float = 0.8
    mask_threshold: float = 0.5


@dataclass
class PanopticVideo:
    """The segments of a video and where they are, frame by frame."""

    labels: dict[int, int]
    """Segment id (from 1) -> class index."""
    frames: Iterator[np.ndarray]
    """Segment ids, uint16 (H, W), frame after frame; can be read once."""


def panoptic_video(
    outputs: VideoOutputs, size: tuple[int, int], settings: PanopticSettings
) -> PanopticVideo:
    """The panoptic segmentation of a video that was run alone.

    A kept query wins pixels by class times mask probability. Over the whole video it must win at
    least ``overlap_threshold`` of its own mask, else it is dropped; its segment is where it wins
    and its mask is. Stuff queries of one class are one segment.

    Args:
        outputs: of one video.
        size: height and width of the result.
        settings: thresholds.
    """
    threshold = settings.class_threshold
    kept = confident_queries(outputs.class_logits[0], threshold, outputs.online_of())
    count = len(kept.queries)
    if not count:
        empty = np.zeros(size, np.uint16)
        return PanopticVideo({}, (empty for _ in outputs.masks([kept.queries])))
    areas = torch.zeros(3, count, dtype=torch.long)
    maps: list[bytes] = []
    for (logits,) in outputs.masks([kept.queries]):
        masks = resize_probabilities(logits[None], outputs.padded, outputs.inner, size)[0]
        best, inside = winners(masks, kept.scores.to(masks.device), settings.mask_threshold)
        own = inside.gather(0, best[None])[0]
        won = best.flatten().bincount(minlength=count)
        both = best[own].bincount(minlength=count)
        areas += torch.stack([won, inside.flatten(1).sum(1), both]).cpu()
        maps.append(_pack(torch.where(own, best + 1, 0).cpu().numpy().astype(np.uint16)))
    table, labels = _segments(kept, areas, settings)
    return PanopticVideo(labels, (table[_unpack(data, size)] for data in maps))


def _segments(
    kept: Kept, areas: torch.Tensor, settings: PanopticSettings
) -> tuple[np.ndarray, dict[int, int]]:
    """From kept query + 1 to segment id (0 where dropped), and the class of every segment."""
    table = np.zeros(len(kept.queries) + 1, np.uint16)
    labels: dict[int, int] = {}
    stuff: dict[int, int] = {}
    for i, label in enumerate(kept.labels.tolist()):
        won, own, both = areas[:, i].tolist()
        if not (won and own and both) or won / own < settings.overlap_threshold:
            continue
        segment = stuff.get(label) if label >= settings.things else None
        if segment is None:
            segment = len(labels) + 1
            labels[segment] = label
            if label >= settings.things:
                stuff[label] = segment
        table[i + 1] = segment
    return table, labels


def _pack(ids: np.ndarray) -> bytes:
    return zlib.compress(ids.tobytes(), 1)


def _unpack(data: bytes, size: tuple[int, int]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(data), np.uint16).reshape(size)
