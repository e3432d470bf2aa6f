"""What a refiner is given of DVIS-DAQ's tracks (arXiv 2404.00086): as many rows as the segmenter
has queries, each through the whole video.

First the tracks with the best scores. In frames without it, a track has its anchor instead of a
query. The other rows are queries of the segmenter, linked from frame to frame as in MinVIS. Which
of them come first is not published: here those of the first frame, in their order.

Symbols: B videos, T frames, P places, Q queries of the segmenter, d tracker width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from videomt_bench.models.contracts import ClipOutput
from videomt_bench.models.trackers import match_embeddings, take_slots

BEST = 40
"""Tracks that are refined."""


class TrackedFrames(NamedTuple):
    """What is kept of some frames of B videos until their end."""

    numbers: Tensor
    """Of the track in each place (B, T, P), -1 for none."""
    score_logits: Tensor
    """(B, T, P, C+1)."""
    queries: Tensor
    """(B, T, P, d)."""
    anchors: Tensor
    """(B, T, P, d)."""
    frame_queries: Tensor
    """(B, T, Q, d)."""

    @staticmethod
    def of(output: ClipOutput) -> TrackedFrames:
        """Those of a clip, or of a part of one."""
        tracks, anchors, frame_queries = output.tracks, output.anchors, output.frame_queries
        assert tracks is not None
        assert anchors is not None
        assert frame_queries is not None
        return TrackedFrames(tracks, output.class_logits, output.queries, anchors, frame_queries)


def whole_tracks(parts: Sequence[TrackedFrames]) -> tuple[Tensor, Tensor]:
    """Rows (B, T, Q, d) through the videos, and the segmenter's queries (B, T, Q, d)."""
    whole = TrackedFrames(*(torch.cat(part, 1) for part in zip(*parts, strict=True)))
    rows = []
    for b in range(len(whole.numbers)):
        video = TrackedFrames(*(x[b] for x in whole))
        best = best_tracks(
            video.numbers, video.score_logits, min(BEST, video.frame_queries.shape[1])
        )
        tracks = through_time(video, best)
        others = linked(video.frame_queries)[:, : video.frame_queries.shape[1] - len(best)]
        rows.append(torch.cat([tracks.to(others.dtype), others], 1))
    return torch.stack(rows), whole.frame_queries


def best_tracks(numbers: Tensor, score_logits: Tensor, most: int) -> Tensor:
    """Numbers (K,) of the tracks with the best mean class logits, best first; at most ``most``.

    Args:
        numbers: (T, P).
        score_logits: (T, P, C+1).
        most: how many.
    """
    there = numbers >= 0
    found, index = numbers[there].unique(return_inverse=True)
    sums = score_logits.new_zeros(len(found), score_logits.shape[-1], dtype=torch.float32)
    sums.index_add_(0, index, score_logits[there].detach().float())
    means = sums / index.bincount(minlength=len(found))[:, None]
    scores = means.softmax(-1)[:, :-1].amax(-1)
    return found[scores.argsort(descending=True, stable=True)[:most]]


def through_time(video: TrackedFrames, chosen: Tensor) -> Tensor:
    """Queries (T, K, d) of the tracks ``chosen`` (K,), their last anchors where they are not there.

    Args:
        video: of one video, without the first axis.
        chosen: track numbers.
    """
    same = video.numbers[:, None] == chosen[:, None]
    there, place = same.any(-1), same.to(torch.uint8).argmax(-1)
    times = torch.arange(len(there), device=there.device)
    queries = video.queries[times[:, None], place]
    last = (there * times[:, None]).argmax(0)
    anchors = video.anchors[last, place[last, torch.arange(len(chosen), device=place.device)]]
    return queries.where(there[..., None], anchors.to(queries.dtype))


def linked(queries: Tensor) -> Tensor:
    """The queries (T, Q, d) of single frames, each matched to the frame before by cosine."""
    rows = [queries[0]]
    for current in queries[1:]:
        order = match_embeddings(rows[-1][None], current[None])
        rows.append(take_slots(current[None], order)[0])
    return torch.stack(rows)
