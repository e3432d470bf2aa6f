"""Which objects are found, and how masks hold up through a video.

For every visible object that is no crowd: is there a prediction of its class with tube IoU of
0.5 or more (any score, no one-to-one matching)? Four recalls: of all objects, of those visible
in the first frame, of late ones (first visible after a third of the video) and of those with a
gap (absent between two visible frames). Drift: the mean IoU per visible frame of the object's
best prediction, of any class, in the first and in the last quarter of the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from videomt_bench.evaluation.tubes import Flags, Floats, Integers, Pairs
from videomt_bench.evaluation.video_stats import DIAGNOSTICS, VideoStats

FOUND = 0.5


def object_diagnostics(
    pairs: Pairs, iou: Floats, same_class: Flags, objects: Iterable[int]
) -> tuple[Floats, Integers]:
    """Sums over the objects of one video, and over how many objects, in order of DIAGNOSTICS.

    ``iou`` and ``same_class`` are (D, G); the highest IoU of an object must be exact, and those
    that reach FOUND in its class.
    """
    sums, counts = np.zeros(len(DIAGNOSTICS)), np.zeros(len(DIAGNOSTICS), np.int64)
    nothing = np.zeros(pairs.frames)
    for g in objects:
        visible = pairs.truths[g].frame_areas > 0
        if not visible.any():
            continue
        found = bool((same_class[:, g] & (iou[:, g] >= FOUND)).any())
        per_frame = _frame_iou(pairs, int(np.argmax(iou[:, g])), g) if len(iou) else nothing
        values = [float(found) if kind else None for kind in _kinds(visible)]
        values += [_mean(per_frame[part & visible]) for part in _quarters(len(visible))]
        for i, value in enumerate(values):
            if value is not None:
                sums[i] += value
                counts[i] += 1
    return sums, counts


def summarize_objects(
    stats: VideoStats, videos: Sequence[int] | Integers | None = None
) -> dict[str, float | None]:
    """Every diagnostic ``name`` with ``name_n``, the number of objects it is a mean over.

    ``videos`` is a multiset of positions; None takes each video once. The value is None where
    there is no such object.

    Raises:
        BenchError: a position that does not exist.
    """
    times = stats.multiplicity(videos)
    sums, counts = times @ stats.object_sums, times @ stats.object_counts
    summary: dict[str, float | None] = {}
    for name, total, n in zip(DIAGNOSTICS, sums.tolist(), counts.tolist(), strict=True):
        summary[name] = total / n if n else None
        summary[f"{name}_n"] = n
    return summary


def _kinds(visible: Flags) -> tuple[bool, bool, bool, bool]:
    """All, first frame, late, gap."""
    frames = np.flatnonzero(visible)
    first, span = int(frames[0]), int(frames[-1] - frames[0] + 1)
    return True, first == 0, 3 * first >= len(visible), len(frames) < span


def _quarters(length: int) -> tuple[Flags, Flags]:
    first = 4 * np.arange(length) < length
    return first, first[::-1]


def _frame_iou(pairs: Pairs, d: int, g: int) -> Floats:
    shared = pairs.shared(d, g)
    union = pairs.truths[g].frame_areas + pairs.detections[d].frame_areas - shared
    return shared / np.maximum(union, 1)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
