"""VPQ and STQ written down pixel by pixel from their formulas, with dictionaries and loops."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import sqrt

WINDOWS = (1, 2, 4, 6, 8)


def slow_metrics(data, videos=None):
    """Metrics of a ``nasty_panoptic.Data``; ``videos`` are names, with repeats."""
    names = list(data.truth) if videos is None else videos
    pairs = [(data.truth[name], data.predicted[name]) for name in names]
    things = {c["id"] for c in data.categories if c["isthing"]}
    return slow_vpq(pairs, things) | slow_stq(pairs, things)


def slow_vpq(videos, things):
    metrics = defaultdict(list)
    for n in WINDOWS:
        table = defaultdict(lambda: [0.0, 0, 0, 0])
        for truth, predicted in videos:
            for start in range(len(truth) - n + 1):
                one_window(truth[start : start + n], predicted[start : start + n], table)
        quality = {c: iou / (tp + fp / 2 + fn / 2) for c, (iou, tp, fp, fn) in table.items()}
        for suffix, chosen in (
            ("", quality),
            ("_thing", quality.keys() & things),
            ("_stuff", quality.keys() - things),
        ):
            mean = sum(quality[c] for c in chosen) / len(chosen) if chosen else None
            metrics[f"VPQ{n}{suffix}"] = mean
            metrics[f"VPQ{suffix}"].append(mean)
    for suffix in ("", "_thing", "_stuff"):
        means = metrics[f"VPQ{suffix}"]
        metrics[f"VPQ{suffix}"] = None if None in means else sum(means) / len(means)
    return dict(metrics)


def one_window(truth, predicted, table):
    shared, predicted_area, true_area = Counter(), Counter(), Counter()
    true_info, predicted_info = {}, {}
    for (true_ids, true_list), (ids, found_list) in zip(truth, predicted, strict=True):
        for g, p in zip(true_ids.ravel().tolist(), ids.ravel().tolist(), strict=True):
            shared[g, p] += 1
            predicted_area[p] += 1
        for info in true_list:
            true_info.setdefault(info["id"], info)
            true_area[info["id"]] += info["area"]
        for info in found_list:
            predicted_info.setdefault(info["id"], info)

    done = set()
    for (g, p), pixels in shared.items():
        true, found = true_info.get(g), predicted_info.get(p)
        if not true or not found or true["iscrowd"]:
            continue
        union = true_area[g] + predicted_area[p] - pixels - shared[0, p]
        if true["category_id"] == found["category_id"] and pixels / union > 0.5:
            row = table[true["category_id"]]
            row[0] += pixels / union
            row[1] += 1
            done |= {("g", g), ("p", p)}

    crowd = {}
    for g, true in true_info.items():
        if true["iscrowd"]:
            crowd[true["category_id"]] = g
        elif ("g", g) not in done:
            table[true["category_id"]][3] += 1
    for p, found in predicted_info.items():
        if ("p", p) not in done:
            ignored = shared[0, p] + shared[crowd.get(found["category_id"]), p]
            if ignored / predicted_area[p] <= 0.5:
                table[found["category_id"]][2] += 1


def slow_stq(videos, things):
    confusion, sums, tubes = Counter(), [0.0, 0.0], [0, 0]
    for truth, predicted in videos:
        first = next((s["id"] for _, info in truth for s in info), None)
        areas = [(Counter(), Counter(), Counter()) for _ in sums]
        for (true_ids, true_list), (ids, found_list) in zip(truth, predicted, strict=True):
            true_class = {s["id"]: s["category_id"] for s in true_list}
            found_class = {s["id"]: s["category_id"] for s in found_list}
            for g, p in zip(true_ids.ravel().tolist(), ids.ravel().tolist(), strict=True):
                true, found = true_class.get(g), found_class.get(p)
                if true is not None:
                    confusion[true, found] += 1
                for crowd_rule, (true_area, found_area, both) in enumerate(areas):
                    if crowd_rule == 0 and g == first and true in things:
                        continue
                    if true in things:
                        true_area[g, true] += 1
                    if found in things:
                        found_area[p, found] += 1
                    if true in things and found in things:
                        both[(g, true), (p, found)] += 1
        for i, (true_area, found_area, both) in enumerate(areas):
            tubes[i] += len(true_area)
            for (g, p), pixels in both.items():
                iou = pixels / (true_area[g] + found_area[p] - pixels)
                sums[i] += pixels * iou / true_area[g]

    row, column = Counter(), Counter()
    for (true, found), pixels in confusion.items():
        row[true] += pixels
        column[found] += pixels
    classes = (row.keys() | column.keys()) - {None}
    iou = [confusion[c, c] / (row[c] + column[c] - confusion[c, c]) for c in classes]
    void = None in column
    sq = sum(iou) / (len(iou) + void) if iou else None
    clean = sum(iou) / len(iou) if iou else None
    aq = sums[0] / max(tubes[0], 1) if iou else None
    all_things = sums[1] / tubes[1] if tubes[1] else None
    return {
        "SQ": sq,
        "SQ_without_void_class": clean,
        "AQ": aq,
        "AQ_all_things": all_things,
        "STQ": root(aq, sq),
        "STQ_all_things": root(all_things, sq),
        "STQ_without_void_class": root(aq, clean),
        "STQ_corrected": root(all_things, clean),
    }


def root(a, b):
    return None if a is None or b is None else sqrt(a * b)
