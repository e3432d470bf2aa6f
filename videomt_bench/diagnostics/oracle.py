"""Predictions with their errors of association, of class, or both put right.

The masks of every frame stay what they are; only links and labels change. The idea is the
"identity oracle" of YouTube-VIS (Yang et al., Video Instance Segmentation, 2019, arXiv
1905.04804); asking what one kind of error costs by mending it alone is that of TIDE (Bolya et al.,
2020, arXiv 2008.08115). ``docs/diagnostics.md`` gives the reasons for the definition.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from videomt_bench.diagnostics.case import VideoCase
from videomt_bench.diagnostics.tracks import NONE, Tracks
from videomt_bench.evaluation.tubes import Flags, Floats, Integers

COVERS = 0.5
"""A mask with this IoU or more covers the object; a tube with it is about the object."""


def oracle_association(case: VideoCase) -> Tracks:
    """The predictions linked right, class by class."""
    tracks = Tracks.as_predicted(case)
    classes = np.unique(case.category).tolist()
    linked = [_of_class(tracks, np.flatnonzero(tracks.category == c), c) for c in classes]
    return _joined(tracks, linked)


def oracle_classes(case: VideoCase) -> Tracks:
    """The predictions with one class per tube: its object's, or else the one predicted highest."""
    return _true_class(_one_class(case))


def oracle_both(case: VideoCase) -> Tracks:
    """The tubes linked right whatever their class, and then with the classes put right."""
    tracks = _one_class(case)
    return _true_class(_linked(tracks, np.arange(len(tracks)), case.counted))


def _of_class(tracks: Tracks, rows: Integers, category: int) -> Tracks:
    counted = tracks.case.counted
    return _linked(tracks, rows, counted[tracks.case.truth_category[counted] == category])


def _one_class(case: VideoCase) -> Tracks:
    """Every tube once, with the label of the highest score."""
    order = np.argsort(-case.score, kind="stable")
    _, first = np.unique(case.tube[order], return_index=True)
    return _some(Tracks.as_predicted(case), order[np.sort(first)])


def _true_class(tracks: Tracks) -> Tracks:
    """Every track with the class of the object that it is about, if there is one."""
    case = tracks.case
    if not len(tracks) or not len(case.counted):
        return tracks
    iou = tracks.iou[:, case.counted]
    truth = case.truth_category[case.counted[iou.argmax(1)]]
    category = np.where(iou.max(1) >= COVERS, truth, tracks.category)
    return Tracks(case, tracks.score, category, tracks.source)


def _linked(tracks: Tracks, rows: Integers, objects: Integers) -> Tracks:
    """The predicted tracks ``rows`` linked right: each of ``objects`` gets one track of its own.

    An object's track is the highest-scored one that covers it in at least half of the frames in
    which the track has a mask. If there is none the object gets a new track, scored with the mean
    of the tracks that its masks come from. Wherever the object's track does not cover it and
    another mask does, the two change places. Tracks that lose all their masks are left out.
    """
    case, source, score = tracks.case, tracks.source[rows], tracks.score[rows]
    iou, present = case.frame_iou[np.ix_(source[:, 0], objects)], tracks.areas[rows] > 0
    covers = iou >= COVERS
    owner = _owners(covers, iou, present, score)
    added = np.flatnonzero((owner == NONE) & covers.any((0, 2)))
    owner[added] = len(rows) + np.arange(len(added))
    before = np.concatenate([source, np.full((len(added), source.shape[1]), NONE)])
    after = before.copy()
    given: dict[int, list[float]] = {k: [] for k in owner[added].tolist()}
    for t, donors in _all_donors(covers, iou, owner):
        for place, origin in _moves(donors):
            after[place, t] = NONE if origin == NONE else before[origin, t]
        for receiver in donors.keys() & given.keys():
            given[receiver].append(float(score[donors[receiver]]))
    score = np.append(score, [np.mean(scores or 0.0) for scores in given.values()])
    category = np.append(tracks.category[rows], case.truth_category[objects[added]])
    result = Tracks(case, score, category, after)
    emptied = (result.areas == 0).all(1)
    emptied[: len(rows)] &= present.any(1)
    return _some(result, np.flatnonzero(~emptied))


def _owners(covers: Flags, iou: Floats, present: Flags, score: Floats) -> Integers:
    """(G,) the track of every object, or NONE."""
    frames = covers.sum(2)
    about = (frames > 0) & (2 * frames >= present.sum(1)[:, None])
    agreement = (iou * covers).sum(2)
    owner = np.full(covers.shape[1], NONE)
    for d in np.argsort(-score, kind="stable"):
        free = np.flatnonzero(about[d] & (owner == NONE))
        if len(free):
            owner[max(free, key=lambda g, d=d: (frames[d, g], agreement[d, g]))] = d  # type: ignore[misc]
    return owner


def _all_donors(
    covers: Flags, iou: Floats, owner: Integers
) -> Iterator[tuple[int, dict[int, int]]]:
    """In each frame with a wrong link, which track ought to have the mask of which other one."""
    tracks, objects, frames = covers.shape
    own = np.flatnonzero((owner != NONE) & (owner < tracks))
    held, placed = np.zeros((objects, frames), bool), np.zeros((tracks, frames), bool)
    held[own] = placed[owner[own]] = covers[owner[own], own]
    wanting = (owner != NONE)[:, None] & ~held
    wrong = covers & wanting & ~placed[:, None]
    for t in np.flatnonzero(wrong.any((0, 1))).tolist():
        value = np.where(wrong[:, :, t], iou[:, :, t], 0)
        d, g = linear_sum_assignment(value, maximize=True)
        chosen = value[d, g] > 0
        yield t, dict(zip(owner[g[chosen]].tolist(), d[chosen].tolist(), strict=True))


def _moves(donors: dict[int, int]) -> Iterator[tuple[int, int]]:
    """(track, track whose mask it gets or NONE): all masks of the frame keep exactly one place.

    A mask that has to make room goes to the place that became free at the end of its chain.
    """
    yield from donors.items()
    for donor in donors.values():
        if donor not in donors:
            yield donor, NONE
    for receiver in donors.keys() - set(donors.values()):
        place = donors[receiver]
        while place in donors:
            place = donors[place]
        yield place, receiver


def _some(tracks: Tracks, rows: Integers) -> Tracks:
    return Tracks(tracks.case, tracks.score[rows], tracks.category[rows], tracks.source[rows])


def _joined(tracks: Tracks, parts: list[Tracks]) -> Tracks:
    if not parts:
        return tracks
    columns = ([getattr(part, name) for part in parts] for name in ("score", "category", "source"))
    return Tracks(tracks.case, *(np.concatenate(column) for column in columns))
