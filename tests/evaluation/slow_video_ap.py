"""Video AP once more: plain loops over frames, videos, thresholds and recall points. The oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from videomt_bench.evaluation.ytvis_files import Truth

RANGES = {"": (0, 1e10), "s": (0, 128**2), "m": (128**2, 256**2), "l": (256**2, 1e10)}
OCCLUSIONS = {"_so": (0, 0.25), "_mo": (0.25, 0.5), "_ho": (0.5, 1)}
IOUS = [float(t) for t in np.linspace(0.5, 0.95, 10)]


def slow_iou(detection, truth):
    shared = union = 0
    for d, g in zip(detection, truth, strict=False):
        if d and g:
            shared += int(coco_mask.area(coco_mask.merge([d, g], True)))
            union += int(coco_mask.area(coco_mask.merge([d, g], False)))
        elif d:
            union += int(coco_mask.area(d))
        elif g:
            union += int(coco_mask.area(g))
    return shared / union if union else 0.0


def slow_area(areas):
    present = [a for a in areas if a]
    return sum(present) / len(present) if present else 0


def pixel_areas(masks):
    return [int(coco_mask.area(mask)) if mask else None for mask in masks]


def slow_match(detections, objects, ious, areas, limits, threshold, occlusion=None):
    """Per detection: (matched, ignored); ``occlusion`` are the limits of a group by that."""
    low, high = limits
    ignore = [g.is_crowd or not low <= areas[id(g)] <= high for g in objects]
    if occlusion:
        inside = [
            g.occlusion is not None and occlusion[0] <= g.occlusion <= occlusion[1] for g in objects
        ]
        ignore = [i or not within for i, within in zip(ignore, inside, strict=True)]
    sequence = [j for j in range(len(objects)) if not ignore[j]]
    sequence += [j for j in range(len(objects)) if ignore[j]]
    used, outcome = set(), []
    for i, detection in enumerate(detections):
        bar, best = min(threshold, 1 - 1e-10), None
        for j in sequence:
            if j in used and not objects[j].is_crowd:
                continue
            if best is not None and not ignore[best] and ignore[j]:
                break
            if ious[i][j] >= bar:
                bar, best = ious[i][j], j
        if best is None:
            area = areas[id(detection)]
            outcome.append((False, area < low or area > high))
        else:
            used.add(best)
            outcome.append((True, bool(ignore[best])))
    return outcome, sum(not i for i in ignore)


def area_of(item):
    areas = getattr(item, "areas", None)
    return slow_area(pixel_areas(item.segmentations) if areas is None else areas)


def slow_curve(outcomes, total):
    """Mean precision over 101 recall points, and the final recall."""
    precision, recall, hits, misses = [], [], 0, 0
    for _, matched, ignored in sorted(outcomes, key=lambda o: -o[0]):
        hits += matched and not ignored
        misses += not matched and not ignored
        precision.append(hits / (hits + misses + np.spacing(1)))
        recall.append(hits / total)
    points = []
    for r in np.linspace(0, 1, 101):
        reached = [k for k in range(len(recall)) if recall[k] >= r]
        points.append(max(precision[reached[0] :]) if reached else 0.0)
    return sum(points) / 101, recall[-1] if recall else 0.0


def slow_video_ap(truth: Truth, predictions) -> dict[str, float | None]:
    """All scores, and with them the per-category APs under ("AP", category id)."""
    ious, groups = {}, {}
    areas = {id(item): area_of(item) for item in [*truth.objects, *predictions]}
    for v in sorted(truth.videos):
        for c in truth.categories:
            objects = [o for o in truth.objects if (o.video_id, o.category_id) == (v, c)]
            found = [p for p in predictions if (p.video_id, p.category_id) == (v, c)]
            found = sorted(found, key=lambda p: -p.score)[:100]
            groups[v, c] = found, objects
            ious[v, c] = [
                [slow_iou(p.segmentations, o.segmentations) for o in objects] for p in found
            ]
    precisions, recalls = {}, {}
    labelled = any(o.occlusion is not None for o in truth.objects)
    names = {**RANGES, **dict.fromkeys(OCCLUSIONS if labelled else (), RANGES[""])}
    for name, limits in names.items():
        for threshold in IOUS:
            for c in sorted(truth.categories):
                outcomes, total = {1: [], 10: [], 100: []}, 0
                for v in sorted(truth.videos):
                    found, objects = groups[v, c]
                    which = limits, threshold, OCCLUSIONS.get(name)
                    result, n = slow_match(found, objects, ious[v, c], areas, *which)
                    total += n
                    for k, kept in outcomes.items():
                        kept += [(p.score, *r) for p, r in zip(found[:k], result[:k], strict=True)]
                if total:
                    precisions[name, threshold, c] = slow_curve(outcomes[100], total)[0]
                    for k, kept in outcomes.items():
                        recalls[k, name, threshold, c] = slow_curve(kept, total)[1]
    return _report(precisions, recalls, names)


def _report(precisions, recalls, names):
    def mean(values):
        values = list(values)
        return sum(values) / len(values) if values else None

    report = {}
    for name in names:
        report[f"AP{name}"] = mean(v for (n, _, _), v in precisions.items() if n == name)
        if name:
            report[f"AR{name}"] = mean(
                v for (k, n, _, _), v in recalls.items() if n == name and k == 100
            )
    for label, threshold in (("AP50", IOUS[0]), ("AP75", IOUS[5])):
        report[label] = mean(v for (n, t, _), v in precisions.items() if n == "" and t == threshold)
    for k in (1, 10, 100):
        report[f"AR{k}"] = mean(v for (m, n, _, _), v in recalls.items() if m == k and n == "")
    for c in {c for _, _, c in precisions}:
        report["AP", c] = mean(v for (n, _, d), v in precisions.items() if n == "" and d == c)
    return report


def duplicated(truth, predictions, positions):
    """The data set in which the videos of a multiset of positions are videos of their own."""
    ids = sorted(truth.videos)
    videos, objects, results = {}, [], []
    for new, position in enumerate(sorted(positions)):
        old = ids[position]
        videos[new] = replace(truth.videos[old], id=new)
        objects += [replace(o, video_id=new) for o in truth.objects if o.video_id == old]
        results += [replace(p, video_id=new) for p in predictions if p.video_id == old]
    return Truth(videos, truth.categories, objects), results
