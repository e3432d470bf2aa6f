"""What is found and kept as a video goes on.

Recall of objects by when they first appear, and IoU and recall of their masks by time since the
start of the video and since they appeared. An object is found, as in ``evaluation.recall``, if a
prediction of its class has a tube IoU of 0.5 or more, at any score. Its own track is the
prediction of any class with the highest tube IoU. It is *kept* in a frame if its own track covers
it there (IoU of 0.5 or more), and *seen* if any predicted mask does.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from videomt_bench.diagnostics.case import VideoCase
from videomt_bench.diagnostics.curves import Bins, Sums, binned
from videomt_bench.diagnostics.groups import Groups
from videomt_bench.evaluation.recall import FOUND
from videomt_bench.evaluation.tubes import Flags, Floats, Integers

PARTS = 10
"""Of a video, in the curves by relative time."""
FIRST_PARTS: Bins = ("first frame", "1st quarter", "2nd quarter", "3rd quarter", "4th quarter")
EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
"""First frames of the bins of absolute time; the last is open."""
FRAMES: Bins = (
    *(str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in pairwise(EDGES.tolist())),
    f"{EDGES[-1]}+",
)
MEASURES = ("iou", "kept", "seen")
TIMES: dict[str, Bins] = {
    "relative time": tuple(f"{100 * i // PARTS}–{100 * (i + 1) // PARTS} %" for i in range(PARTS)),
    "frame": FRAMES,
    "frames since it appeared": FRAMES,
}
RECALL_BY_PART, RECALL_BY_FRAME = "recall by first part", "recall by first frame"
RECALL_BY_GROUP = "recall by group"


def curve_bins(groups: Groups) -> dict[str, Bins]:
    """The names of all curves and the labels of their bins."""
    bins: dict[str, Bins] = {
        RECALL_BY_PART: FIRST_PARTS,
        RECALL_BY_FRAME: FRAMES,
        RECALL_BY_GROUP: tuple(f"{group.kind}: {group.label}" for group in groups.groups),
    }
    return bins | {
        f"{measure} by {time}": labels for measure in MEASURES for time, labels in TIMES.items()
    }


def curve_sums(case: VideoCase, groups: Groups) -> Sums:
    """The sums of one video, for all curves of :func:`curve_bins`."""
    objects, length = case.counted, case.video.length
    visible = case.truth_areas[objects] > 0
    first = visible.argmax(1)
    found = found_objects(case)[objects].astype(np.float64)
    sums: Sums = {
        RECALL_BY_PART: binned(found, _first_part(first, length), len(FIRST_PARTS)),
        RECALL_BY_FRAME: binned(found, _frame_bin(first), len(FRAMES)),
    }
    members = groups.members[case.video.id][objects]
    sums[RECALL_BY_GROUP] = found @ members, members.sum(0)
    which, frame = np.nonzero(visible)
    times = {
        "relative time": frame * PARTS // length,
        "frame": _frame_bin(frame),
        "frames since it appeared": _frame_bin(frame - first[which]),
    }
    for measure, values in _by_frame(case, objects).items():
        for time, bins in times.items():
            size = len(TIMES[time])
            sums[f"{measure} by {time}"] = binned(values[which, frame], bins, size)
    return sums


def found_objects(case: VideoCase) -> Flags:
    """(G,) whether a prediction of the object's class has a tube IoU of FOUND or more."""
    same_class = case.category[:, None] == case.truth_category
    return (same_class & (case.tube_iou[case.tube] >= FOUND)).any(0)


def _by_frame(case: VideoCase, objects: Integers) -> dict[str, Floats]:
    """By measure, (objects, T)."""
    if not len(case.areas):
        nothing = np.zeros((len(objects), case.video.length))
        return dict.fromkeys(MEASURES, nothing)
    own = case.tube_iou[:, objects].argmax(0)
    iou = case.frame_iou[own, objects]
    seen = (case.frame_iou[:, objects] >= FOUND).any(0)
    return {
        "iou": iou,
        "kept": (iou >= FOUND).astype(np.float64),
        "seen": seen.astype(np.float64),
    }


def _first_part(first: Integers, length: int) -> Integers:
    """0 for the first frame, else 1 to 4 by the quarter of the video."""
    return np.where(first == 0, 0, 1 + 4 * first // length)


def _frame_bin(frame: Integers) -> Integers:
    return np.searchsorted(EDGES, frame, side="right") - 1
