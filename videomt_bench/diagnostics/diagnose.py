"""All diagnostics of one result file, as statistics per video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videomt_bench.diagnostics.association_stats import SIZE, AssociationStats, cell_counts
from videomt_bench.diagnostics.average_precision import (
    GroupStats,
    draws_of_all,
    group_stats,
    video_result,
)
from videomt_bench.diagnostics.case import VideoCase, video_case
from videomt_bench.diagnostics.curves import Curve, Sums, curves
from videomt_bench.diagnostics.drift import FIRST_PARTS, RECALL_BY_PART, curve_bins, curve_sums
from videomt_bench.diagnostics.groups import Groups, object_groups
from videomt_bench.diagnostics.oracle import oracle_association, oracle_both, oracle_classes
from videomt_bench.diagnostics.selection import Selection, agnostic_cell, class_cell, resolved
from videomt_bench.diagnostics.tracks import Tracks
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.matching import VideoResult
from videomt_bench.evaluation.stats_files import multiplicity
from videomt_bench.evaluation.tubes import Floats, Integers
from videomt_bench.evaluation.video_ap import Comparison, by_video
from videomt_bench.evaluation.ytvis_files import Prediction, Truth, read_predictions, read_truth

Progress = Callable[[int, int], None]
"""Called with (videos done, videos in all)."""

ORACLES: dict[str, Callable[[VideoCase], Tracks]] = {
    "AP_association": oracle_association,
    "AP_classes": oracle_classes,
    "AP_both": oracle_both,
}
"""Whose AP stands beside that of the predictions as they are."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What is known of one result file; all of it can be resampled over videos."""

    video_ids: Integers
    """(V,) ascending: a video's position is its rank."""
    ap: dict[str, GroupStats]
    """As it is, ``AP``, and by the names of ORACLES."""
    by_group: GroupStats
    """AP as is, of all objects and of every group."""
    groups: Groups
    by_class: AssociationStats
    agnostic: AssociationStats
    curves: dict[str, Curve]

    def values(self, videos: Sequence[int] | Integers | None = None) -> dict[str, float]:
        """Every metric of the main table on a multiset of video positions; nan where undefined.

        In fractions, but IDSW, the number of identity switches. ``_agnostic`` is of all classes
        together.

        Raises:
            BenchError: a position that does not exist.
        """
        times = multiplicity(videos, len(self.video_ids))[None]
        return {name: float(value[0]) for name, value in self.draws(times).items()}

    def points(
        self, videos: Sequence[int] | Integers | None = None
    ) -> dict[tuple[str, str], float]:
        """Every curve by (name, bin) on a multiset of video positions.

        Raises:
            BenchError: a position that does not exist.
        """
        times = multiplicity(videos, len(self.video_ids))[None]
        return {key: float(value[0]) for key, value in self.point_draws(times).items()}

    def draws(self, times: Integers) -> dict[str, Floats]:
        """(D,) what ``values`` gives on D multisets; ``times`` (D, V): how often a video occurs."""
        ap = {name: draws_of_all(stats, times) for name, stats in self.ap.items()}
        gains = {f"gain_{name.removeprefix('AP_')}": ap[name] - ap["AP"] for name in ORACLES}
        agnostic = {f"{k}_agnostic": v for k, v in self.agnostic.draws(times).items()}
        return ap | gains | self.by_class.draws(times) | agnostic | self._recalls(times)

    def point_draws(self, times: Integers) -> dict[tuple[str, str], Floats]:
        """(D,) what ``points`` gives on D multisets."""
        return {
            (curve.name, label): values
            for curve in self.curves.values()
            for label, values in zip(curve.bins, curve.draws(times).T, strict=True)
        }

    def _recalls(self, times: Integers) -> dict[str, Floats]:
        """Of all objects, of those in the first frame, and of those that come later."""
        curve = self.curves[RECALL_BY_PART]
        start = np.array([label == FIRST_PARTS[0] for label in curve.bins], bool)
        kept = {"recall": start | True, "recall_first_frame": start, "recall_later": ~start}
        return {name: curve.pooled(bins, times) for name, bins in kept.items()}


def diagnose_files(
    truth: Path,
    predictions: Path,
    selection: Selection | None = None,
    on_progress: Progress | None = None,
) -> Diagnosis:
    """The diagnostics of a result file.

    Raises:
        BenchError: see :func:`read_truth` and :func:`read_predictions`.
    """
    known = read_truth(truth)
    found = read_predictions(predictions, known)
    return diagnose(known, found, selection, on_progress)


def diagnose(
    truth: Truth,
    predictions: Iterable[Prediction],
    selection: Selection | None = None,
    on_progress: Progress | None = None,
    groups: Groups | None = None,
) -> Diagnosis:
    """The diagnostics of the predictions of all videos.

    Args:
        truth: with objects.
        predictions: of any videos of the truth, in any order.
        selection: which of them count as tracks in HOTA, IDF1 and CLEAR MOT.
        on_progress: called with (videos done, videos in all).
        groups: of the truth, if they are known already.

    Raises:
        BenchError: no video, no category, no object, or predictions that do not fit the truth.
    """
    comparison, selection = Comparison(truth), selection or Selection()
    groups = groups or object_groups(truth)
    if not groups.groups:
        raise BenchError("the truth has no visible object: there is nothing to diagnose")
    objects, found = by_video(truth, truth.objects), by_video(truth, predictions)
    categories = {id_: i for i, id_ in enumerate(sorted(truth.categories))}
    parts: dict[int, _Part] = {}
    for done, (id_, video) in enumerate(truth.videos.items(), start=1):
        case = video_case(video, objects[id_], found[id_], categories)
        tracked = case
        if selection.overlaps == "resolve":
            kept = resolved(video, found[id_], selection.score_threshold)
            tracked = video_case(video, objects[id_], kept, categories)
        parts[id_] = _part(case, tracked, len(categories), groups, selection.score_threshold)
        if on_progress is not None:
            on_progress(done, len(truth.videos))
    return _gathered(comparison, parts, groups)


@dataclass(frozen=True, eq=False)
class _Part:
    """What one video contributes."""

    ap: dict[str, VideoResult]
    by_group: VideoResult
    by_class: Floats
    agnostic: Floats
    curves: Sums


def _part(
    case: VideoCase, tracked: VideoCase, categories: int, groups: Groups, score_threshold: float
) -> _Part:
    ap = {name: video_result(link(case), categories) for name, link in ORACLES.items()}
    by_class = np.zeros((categories, SIZE))
    for c in {*tracked.truth_category.tolist(), *tracked.category.tolist()}:
        by_class[c] = cell_counts(class_cell(tracked, c, score_threshold))
    return _Part(
        ap,
        video_result(Tracks.as_predicted(case), categories, groups),
        by_class,
        cell_counts(agnostic_cell(tracked, score_threshold))[None],
        curve_sums(case, groups),
    )


def _gathered(comparison: Comparison, parts: dict[int, _Part], groups: Groups) -> Diagnosis:
    ordered = [parts[id_] for id_ in sorted(parts)]
    by_group = group_stats(comparison, {id_: p.by_group for id_, p in parts.items()}, groups)
    ap = {"AP": by_group.of_all()} | {
        name: group_stats(comparison, {id_: part.ap[name] for id_, part in parts.items()})
        for name in ORACLES
    }
    return Diagnosis(
        np.array(sorted(parts), np.int64),
        ap,
        by_group,
        groups,
        AssociationStats(np.stack([part.by_class for part in ordered])),
        AssociationStats(np.stack([part.agnostic for part in ordered])),
        curves(curve_bins(groups), [part.curves for part in ordered]),
    )
