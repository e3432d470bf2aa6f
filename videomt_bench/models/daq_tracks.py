"""The tracks of DVIS-DAQ: how they begin, last and end (arXiv 2404.00086 and its public code).

A query above a threshold begins a track. A track that was not seen for some frames in a row ends;
the frames in which it was not seen belong to it, but for the last one. Tracks live in places, which
are used again, so that what a stream keeps is bounded. Each track has a number, in order of birth.

Symbols: B streams, P places, n living tracks, d tracker width, R rows: the queries of a frame,
those of tracks first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.anchors import Anchors
from videomt_bench.models.contracts import Prediction
from videomt_bench.models.postprocess import NO_MASK

NO_OBJECT = 10.0
"""Logit of no-object in a place without a track; those of classes are 0."""


@dataclass(frozen=True)
class TrackLimits:
    """How long tracks last. ``patience``: a track ends in the frame in which it is not seen for the
    so-manieth time in a row. ``places``: tracks that may live at once, as a multiple of the
    queries; the public code has no limit. ``shortest``: frames of a track that counts."""

    patience: int = 8
    places: int = 2
    shortest: int = 5

    def __post_init__(self) -> None:
        for name in ("patience", "places", "shortest"):
            if getattr(self, name) < 1:
                raise BenchError(
                    f"{name} of tracks is {getattr(self, name)}; it must be at least 1"
                )


class Tracks(NamedTuple):
    """What is kept of the tracks of B streams; of one stream without the first axis."""

    queries: Tensor
    """What a track looks for its object with (B, P, d)."""
    anchors: Anchors
    """(B, P, …)."""
    absent: Tensor
    """For how many frames it was not seen (B, P), long."""
    number: Tensor
    """Number of the track in each place (B, P), -1 for none."""
    born: Tensor
    """How many tracks there were (B,)."""

    @staticmethod
    def none(places: int, like: Tensor) -> Tracks:
        """A stream without tracks; ``like`` (…, d) tells width and device."""
        nobody = torch.full((places,), -1, dtype=torch.long, device=like.device)
        anchors = Anchors.none(places, like)
        born = torch.zeros((), dtype=torch.long, device=like.device)
        empty = like.new_zeros(places, like.shape[-1])
        return Tracks(empty, anchors, torch.zeros_like(nobody), nobody, born)

    def living(self, counted: int) -> Tensor:
        """The places (n,) of living tracks. Where there are only shapes, ``counted`` of them."""
        if self.number.is_meta:
            return torch.arange(counted, device=self.number.device)
        return (self.number >= 0).nonzero()[:, 0]


class Seats(NamedTuple):
    """Which rows of a frame go to which places."""

    rows: Tensor
    """(k,)."""
    places: Tensor
    """(k,)."""
    total: int
    """P."""

    def seat(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Rows (R, …) by place (P, …), ``value`` where there is none."""
        return self.settle(x[self.rows], value)

    def settle(self, x: Tensor, value: float = 0.0) -> Tensor:
        """The same of what these rows alone have (k, …)."""
        empty = x.new_full((self.total, *x.shape[1:]), value)
        return empty.index_put((self.places,), x)

    def predicted(self, prediction: Prediction) -> Prediction:
        """What is predicted of rows (1, R, …) by place (1, P, …): nothing where there is none."""
        masks = self.seat(prediction.mask_logits[0], NO_MASK)
        logits = prediction.class_logits[0]
        void = torch.zeros_like(logits[:1])
        void[:, -1] = NO_OBJECT
        classes = void.repeat(self.total, 1).index_put((self.places,), logits[self.rows])
        return Prediction(classes[None], masks[None])


class Kept(NamedTuple):
    """The k rows of a frame that are tracks after it, those of older tracks first."""

    seats: Seats
    older: Seats
    """Of the older tracks among them alone; its rows are those of tracks, and of slots."""
    seen: Tensor
    """Bool (k,)."""
    absent: Tensor
    """For how many frames they were not seen (k,)."""
    number: Tensor
    """(k,)."""
    born: Tensor
    """How many tracks there were in the stream."""


@torch.no_grad()
def keep(tracks: Tracks, living: Tensor, found: Tensor, score: Tensor, limits: TrackLimits) -> Kept:
    """Which rows of a frame go on, and which begin.

    Args:
        tracks: of one stream, before the frame.
        living: the places (n,) of the tracks that entered the frame, as rows 0 to n - 1.
        found: bool (R,), whether a row has an object.
        score: (R,), by which newcomers are chosen where there are more of them than places.
        limits: how long tracks last.
    """
    n, total = len(living), len(tracks.number)
    absent = (tracks.absent[living] + 1).where(~found[:n], 0)
    older = _those(absent < limits.patience)
    old_places = living[older]
    free = torch.ones_like(tracks.number, dtype=torch.bool)
    free[old_places] = False
    new = _newcomers(found[n:], score[n:], total - len(older), first=n == 0) + n
    nothing = torch.zeros_like(new)
    return Kept(
        Seats(torch.cat([older, new]), torch.cat([old_places, _those(free)[: len(new)]]), total),
        Seats(older, old_places, total),
        seen=torch.cat([found[older], nothing == 0]),
        absent=torch.cat([absent[older], nothing]),
        number=torch.cat([tracks.number[old_places], tracks.born + _count(new)]),
        born=tracks.born + len(new),
    )


def _count(rows: Tensor) -> Tensor:
    return torch.arange(len(rows), device=rows.device)


def _those(mask: Tensor) -> Tensor:
    """The indices where a mask is; where there are only shapes, all."""
    if mask.is_meta:
        return _count(mask)
    return mask.nonzero()[:, 0]


def _newcomers(found: Tensor, score: Tensor, room: int, first: bool) -> Tensor:
    """The rows that begin tracks, in order. Of shapes alone: all in the first frame, then none."""
    if found.is_meta:
        return _count(found if first else found[:0])
    rows = found.nonzero()[:, 0]
    if len(rows) > room:
        rows = rows[score[rows].topk(room).indices].sort().values
    return rows
