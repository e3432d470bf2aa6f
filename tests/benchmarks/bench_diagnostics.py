"""HOTA, IDF1 and CLEAR MOT: ours against TrackEval in one run, and the time of all diagnostics.

    python tests/benchmarks/bench_diagnostics.py

Not a test: it asserts nothing about time. Both sides start from the same masks in memory and run in
turn in one process on one core; the smallest CPU time of each counts, and the ratio is the number
to keep. TrackEval gets its IoUs from pycocotools, as its own data sets do.
"""

# ruff: noqa: E402  (the path and the thread count come before the imports)

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "tests" / "evaluation")]
sys.path.insert(0, str(ROOT / "tests" / "diagnostics"))

import numpy as np
from bench_video_ap import cpu, data
from test_trackeval import THRESHOLD, agnostic, by_class

from videomt_bench.diagnostics.association_stats import (
    MEASURES,
    SIZE,
    AssociationStats,
    cell_counts,
)
from videomt_bench.diagnostics.case import video_case
from videomt_bench.diagnostics.diagnose import diagnose
from videomt_bench.diagnostics.selection import agnostic_cell, class_cell
from videomt_bench.diagnostics.summary import summarize_variant
from videomt_bench.evaluation.video_ap import by_video, evaluate_videos, summarize


def ours(truth, predictions):
    """Association alone, by class and agnostic."""
    objects, found = by_video(truth, truth.objects), by_video(truth, predictions)
    positions = {c: i for i, c in enumerate(sorted(truth.categories))}
    classes, everything = [], []
    for id_, video in truth.videos.items():
        kept = [p for p in found[id_] if p.score >= THRESHOLD]
        case = video_case(video, objects[id_], kept, positions)
        counts = np.zeros((len(positions), SIZE))
        for c in {*case.truth_category.tolist(), *case.category.tolist()}:
            counts[c] = cell_counts(class_cell(case, c, THRESHOLD))
        classes.append(counts)
        everything.append(cell_counts(agnostic_cell(case, THRESHOLD))[None])
    stats = AssociationStats(np.stack(classes)), AssociationStats(np.stack(everything))
    return [s.summarize() for s in stats]


def theirs(truth, predictions):
    """The same by TrackEval."""
    table = list(by_class(truth, predictions).values())
    means = {name: float(np.mean([row[name] for row in table])) for name in MEASURES}
    means["IDSW"] *= len(table)
    return [means, agnostic(truth, predictions)]


def main() -> None:
    """Print the ratio and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    parser.add_argument("--predictions", type=int, default=10, help="per video")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    truth, predictions = data(
        np.random.default_rng(0), arguments.videos, arguments.frames, *arguments.size,
        arguments.classes, arguments.predictions,
    )  # fmt: skip
    works = {
        "ours": lambda: ours(truth, predictions),
        "TrackEval": lambda: theirs(truth, predictions),
        "AP": lambda: summarize(evaluate_videos(truth, predictions)),
        "everything": lambda: diagnose(truth, predictions),
    }
    seconds, found = {}, {}
    for _ in range(arguments.repeats):
        for name, work in works.items():
            spent, found[name] = cpu(work)
            seconds[name] = min(seconds.get(name, spent), spent)
    difference = max(
        abs(a[name] - b[name])
        for a, b in zip(found["ours"], found["TrackEval"], strict=True)
        for name in MEASURES
    )
    print(
        f"{arguments.videos} videos x {arguments.frames} frames of {arguments.size}, "
        f"{arguments.predictions} predictions a video, {arguments.classes} classes"
    )
    print(f"  association: ours {seconds['ours']:.2f} s, TrackEval {seconds['TrackEval']:.2f} s")
    ratio = seconds["TrackEval"] / seconds["ours"]
    print(f"  ratio {ratio:.1f}, largest difference {difference:.1e}")
    print(f"  all diagnostics {seconds['everything']:.2f} s, AP alone {seconds['AP']:.2f} s")
    spent, _ = cpu(lambda: summarize_variant("x", [found["everything"]], arguments.draws))
    print(f"  intervals of everything, {arguments.draws} resamples: {spent:.1f} s")


if __name__ == "__main__":
    main()
