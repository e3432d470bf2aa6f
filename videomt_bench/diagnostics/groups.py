"""Kinds of objects: by size, by length of track, by occlusion.

Groups come from the truth of the whole data set alone, so that they are the same for every
variant and every resample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from pycocotools import mask as coco_mask

from videomt_bench.evaluation import occlusion
from videomt_bench.evaluation.matching import AREA_LIMITS, object_area, tubes_of
from videomt_bench.evaluation.tubes import Flags, Floats, Tube
from videomt_bench.evaluation.video_ap import by_video
from videomt_bench.evaluation.ytvis_files import Truth, TruthObject, Video

SIZES = ("small", "medium", "large")
OCCLUSIONS = ("slight", "moderate", "heavy")
OVERLAPS = (0.05, 0.25)
"""Of an object's box, what the box of another object covers: where the groups change."""

Traits = dict[str, Floats]
"""What groups are made of, by name, (G,) each."""


@dataclass(frozen=True)
class Group:
    """The objects whose ``trait`` lies in a range; the lower end belongs to it if ``closed``."""

    kind: str
    label: str
    trait: str
    low: float
    high: float
    closed: bool = False

    def holds(self, values: Floats) -> Flags:
        """Which values lie in the range; nan does not."""
        above = values >= self.low if self.closed else values > self.low
        return above & (values <= self.high)


@dataclass(frozen=True, eq=False)
class Groups:
    """B groups and their members."""

    groups: Sequence[Group]
    members: dict[int, Flags] = field(repr=False)
    """By video id, (G, B)."""

    def outside(self, mean_area: Floats, video: Video) -> Flags:
        """(K, B) whether a detection without an object does not count in a group.

        As in COCO's evaluation: those whose own mean area is not in the group's range of areas.
        """
        areas = {"area": mean_area, "share": mean_area / (video.height * video.width)}
        columns = [
            ~group.holds(areas[group.trait])
            if group.trait in areas
            else np.zeros(len(mean_area), bool)
            for group in self.groups
        ]
        return np.stack(columns, 1) if columns else np.zeros((len(mean_area), 0), bool)


def object_groups(truth: Truth) -> Groups:
    """All groups that have an object that counts, and who is in them.

    Raises:
        BenchError: an object of an unknown video or category, or masks that do not fit.
    """
    objects = by_video(truth, truth.objects)
    traits = {id_: _traits(video, objects[id_]) for id_, video in truth.videos.items()}
    counts = [(t["frames"] > 0) & (t["crowd"] == 0) for t in traits.values()]
    counted = {
        name: np.concatenate([t[name][c] for t, c in zip(traits.values(), counts, strict=True)])
        for name in next(iter(traits.values()), {})
    }
    groups = [group for group in _groups(counted) if group.holds(counted[group.trait]).any()]
    members = {
        id_: np.array([group.holds(found[group.trait]) for group in groups], bool)
        .reshape(len(groups), len(objects[id_]))
        .T
        for id_, found in traits.items()
    }
    return Groups(groups, members)


def _groups(counted: Traits) -> Iterator[Group]:
    for label, (low, high) in zip(SIZES, AREA_LIMITS[1:].tolist(), strict=True):
        yield Group("size", label, "area", low, high, closed=True)
    for low, high in quarters(counted["share"]):
        label = _bounds(100 * low, 100 * high, "{:.3g}")
        yield Group("size, % of the frame", label, "share", low, high)
    for low, high in quarters(counted["frames"]):
        yield Group("length, frames", _bounds(low, high, "{:.0f}"), "frames", low, high)
    yield Group("gap", "none", "gap", -np.inf, 0)
    yield Group("gap", "returns", "gap", 0, np.inf)
    for label, (low, high) in zip(OCCLUSIONS, occlusion.LIMITS.tolist(), strict=True):
        yield Group("occlusion", label, "occlusion", low, high, closed=True)
    for low, high in pairwise([-np.inf, *OVERLAPS, np.inf]):
        label = _bounds(100 * low, 100 * high, "{:.0f}")
        yield Group("box overlap, %", label, "overlap", low, high)


def quarters(values: Floats) -> list[tuple[float, float]]:
    """Ranges with about a quarter of the values each; fewer where many are equal."""
    if not len(values):
        return []
    cuts = np.unique(np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf"))
    edges = [-np.inf, *cuts[cuts < values.max()].tolist(), np.inf]
    return list(pairwise(edges))


def _bounds(low: float, high: float, form: str) -> str:
    """The range as a short label."""
    if np.isinf(low) and np.isinf(high):
        return "all"
    if np.isinf(low):
        return f"≤ {form.format(high)}"
    if np.isinf(high):
        return f"> {form.format(low)}"
    return f"{form.format(low)}–{form.format(high)}"


def _traits(video: Video, objects: Sequence[TruthObject]) -> Traits:
    tubes = tubes_of(objects, video)
    crowd = [object_.is_crowd for object_ in objects]
    frames = [np.flatnonzero(tube.frame_areas) for tube in tubes]
    columns = {
        "area": [object_area(o, tube) for o, tube in zip(objects, tubes, strict=True)],
        "share": [tube.mean_area / (video.height * video.width) for tube in tubes],
        "frames": [len(seen) for seen in frames],
        "gap": [seen[-1] - seen[0] + 1 - len(seen) if len(seen) else 0 for seen in frames],
        "occlusion": [np.nan if o.occlusion is None else o.occlusion for o in objects],
        "overlap": box_overlap(tubes, crowd),
        "crowd": crowd,
    }
    return {name: np.array(column, np.float64) for name, column in columns.items()}


def box_overlap(tubes: Sequence[Tube], crowd: Sequence[bool]) -> Floats:
    """(G,) which part of an object's box the box of another object covers, the largest such part.

    The mean over the frames in which the object is visible; crowds cover nothing.
    """
    frames = max((len(tube.masks) for tube in tubes), default=0)
    boxes = np.zeros((len(tubes), frames, 4))
    for g, tube in enumerate(tubes):
        seen = np.flatnonzero(tube.frame_areas)
        if len(seen):
            boxes[g, seen] = coco_mask.toBbox([tube.masks[t] for t in seen.tolist()])
    low, size = boxes[..., :2], boxes[..., 2:]
    sides = np.minimum(low + size, (low + size)[:, None]) - np.maximum(low, low[:, None])
    shared = np.maximum(sides, 0).prod(-1)
    shared[np.arange(len(tubes)), np.arange(len(tubes))] = 0
    shared[np.array(crowd, bool)] = 0
    area = size.prod(-1)
    part = shared.max(0, initial=0) / np.maximum(area, 1)
    return part.sum(1) / np.maximum(np.count_nonzero(area, 1), 1)
