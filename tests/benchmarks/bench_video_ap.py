"""Video AP: our evaluation against plain loops in one run, and the time of 1,000 resamples.

    python tests/benchmarks/bench_video_ap.py

Not a test: it asserts nothing about time. Both sides run in turn in one process on one core, and
the smallest CPU time of each counts; the ratio is the number to keep.
"""

# ruff: noqa: E402  (the path and the thread count come before the imports)

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "evaluation")]

import numpy as np
from nasty_videos import encode
from slow_video_ap import pixel_areas, slow_video_ap

from videomt_bench.evaluation.score import score_ytvis
from videomt_bench.evaluation.video_ap import evaluate_videos, summarize
from videomt_bench.evaluation.ytvis_files import (
    Prediction,
    Truth,
    TruthObject,
    Video,
    write_predictions,
)


def blob_tube(rng, height, width, length):
    """An ellipse with a rough outline that moves."""
    y, x = np.mgrid[:height, :width]
    cy, cx = rng.uniform(0.2, 0.8) * height, rng.uniform(0.2, 0.8) * width
    ry, rx = rng.uniform(0.08, 0.3) * height, rng.uniform(0.08, 0.3) * width
    vy, vx = rng.uniform(-2, 2, 2)
    masks = []
    for t in range(length):
        rough = 0.15 * rng.standard_normal(width).cumsum() / np.sqrt(width)
        distance = ((y - cy - vy * t) / ry) ** 2 + ((x - cx - vx * t) / rx) ** 2
        masks.append(encode(distance + rough < 1))
    return masks


def data(rng, videos, length, height, width, categories, per_video):
    """Two objects and ``per_video`` predictions a video; masks come from a small pool."""
    pool = [blob_tube(rng, height, width, length) for _ in range(24)]
    objects, results = [], []
    for v in range(videos):
        for _ in range(2):
            tube = pool[rng.integers(len(pool))]
            objects.append(TruthObject(v, int(rng.integers(1, categories + 1)), tube))
        for i in range(per_video):
            near = objects[-1 - i % 2]
            good = rng.random() < 0.5
            tube = near.segmentations if good else pool[rng.integers(len(pool))]
            category = near.category_id if good else int(rng.integers(1, categories + 1))
            results.append(Prediction(v, category, float(rng.random()), tube))
    names = {c: f"class {c}" for c in range(1, categories + 1)}
    return Truth(
        {v: Video(v, height, width, length) for v in range(videos)}, names, objects
    ), results


def cpu(work, *arguments):
    """Seconds of CPU and the result."""
    start = time.process_time()
    result = work(*arguments)
    return time.process_time() - start, result


def write(folder, truth, results):
    """Truth and result file."""
    annotations = [
        {
            "id": i + 1,
            "video_id": o.video_id,
            "category_id": o.category_id,
            "iscrowd": 0,
            "areas": pixel_areas(o.segmentations),
            "segmentations": o.segmentations,
        }
        for i, o in enumerate(truth.objects)
    ]
    data = {
        "videos": [vars(video) for video in truth.videos.values()],
        "categories": [{"id": id_, "name": name} for id_, name in truth.categories.items()],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(data))
    write_predictions(folder / "results.json", results)
    return folder / "truth.json", folder / "results.json"


def against_loops(rng, videos, length, size, repeats):
    truth, results = data(rng, videos, length, *size, 40, 10)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), truth, results)
        works = {
            "loops": lambda: slow_video_ap(truth, results),
            "ours": lambda: summarize(evaluate_videos(truth, results)),
            "files": lambda: score_ytvis(*files),
            "json": lambda: [json.loads(path.read_bytes()) for path in files],
        }
        found = {}
        for _ in range(repeats):
            for name, work in works.items():
                spent, found[name] = cpu(work)
                seconds[name] = min(seconds.get(name, spent), spent)
    scores, expected = found["ours"], found["loops"]
    difference = max(abs(scores[k] - expected[k]) for k in scores if scores[k] is not None)
    print(f"{videos} videos x {length} frames of {size}, 10 predictions a video")
    print(f"  ours {seconds['ours']:.2f} s, plain loops {seconds['loops']:.2f} s of CPU")
    ratio = seconds["loops"] / seconds["ours"]
    print(f"  ratio {ratio:.1f}, largest difference {difference:.1e}")
    print(
        f"  from files {seconds['files']:.2f} s, parsing their JSON alone {seconds['json']:.2f} s"
    )


def resampling(rng, resamples, videos=300):
    truth, results = data(rng, videos, 3, 48, 48, 40, 10)
    stats = evaluate_videos(truth, results)
    draws = rng.integers(0, videos, (resamples, videos))
    seconds, _ = cpu(lambda: [summarize(stats, draw) for draw in draws])
    print(f"{resamples} resamples of {videos} videos, {len(stats)} detections, 40 categories")
    print(f"  {seconds:.2f} s")


def main() -> None:
    """Print the ratio and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    against_loops(rng, arguments.videos, arguments.frames, arguments.size, arguments.repeats)
    resampling(rng, arguments.resamples)


if __name__ == "__main__":
    main()
