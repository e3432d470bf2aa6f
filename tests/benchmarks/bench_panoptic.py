"""VPQ and STQ together: CPU time as a ratio to decoding every PNG once.

    python tests/benchmarks/bench_panoptic.py
    python tests/benchmarks/bench_panoptic.py --videos 12 --frames 24 --size 720 1280

Not a test: it asserts nothing about time. Both sides run in turn in one process on one core, and
the smallest time of each counts; the ratio is the number to keep.
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
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np
from PIL import Image

from videomt_bench.data.vipseg_classes import CLASSES, THINGS
from videomt_bench.evaluation.panoptic import score_vipseg, summarize


def scene(rng, size, length, segments):
    """Cells of a wavy mosaic that drifts: ids (H, W) per frame, and the category of every id."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    y, x = y + 8 * np.sin(x / 23), x + 8 * np.cos(y / 31)
    ids = rng.choice(np.arange(1, 2**24), segments, replace=False)
    seeds, drift = rng.uniform(0, 1, (segments, 2)) * size, rng.normal(0, 2, (segments, 2))
    frames = []
    for t in range(length):
        nearest = np.full(size, np.inf, np.float32)
        owner = np.zeros(size, np.int64)
        for i, (a, b) in enumerate(seeds + t * drift):
            distance = (y - np.float32(a)) ** 2 + (x - np.float32(b)) ** 2
            closer = distance < nearest
            nearest[closer], owner[closer] = distance[closer], ids[i]
        frames.append(owner)
    return frames, dict(zip(ids.tolist(), rng.integers(0, CLASSES, segments).tolist(), strict=True))


def annotate(folder, name, frames, category):
    """Write the PNGs of a video; its entry in the JSON."""
    (folder / name).mkdir(parents=True)
    entries = []
    for t, ids in enumerate(frames):
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / name / f"{t:08d}.png")
        present = zip(*np.unique(ids[ids > 0], return_counts=True), strict=True)
        info = [
            {"id": int(i), "category_id": category[int(i)], "iscrowd": 0, "area": int(n)}
            for i, n in present
        ]
        entries.append({"file_name": f"{t:08d}.png", "segments_info": info})
    return {"video_id": name, "annotations": entries}


def write(root, videos, length, size, segments):
    """Truth, and predictions that are the truth moved by some pixels with a void border."""
    rng = np.random.default_rng(0)
    truth, found = [], []
    for v in range(videos):
        frames, category = scene(rng, size, length, segments)
        truth.append(annotate(root / "truth", f"video{v}", frames, category))
        moved = [np.roll(ids, (3, 5), (0, 1)) for ids in frames]
        for ids in moved:
            ids[:4] = 0
        found.append(annotate(root / "found" / "pan_pred", f"video{v}", moved, category))
    images = [{"id": t, "file_name": f"{t:08d}.png"} for t in range(length)]
    data = {
        "videos": [{"video_id": f"video{v}", "images": images} for v in range(videos)],
        "annotations": truth,
        "categories": [{"id": c, "isthing": int(c in THINGS)} for c in range(CLASSES)],
    }
    (root / "truth.json").write_text(json.dumps(data))
    (root / "found" / "pred.json").write_text(json.dumps({"annotations": found}))


def cpu_time(work):
    """Seconds of CPU, and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    parser.add_argument("--segments", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, arguments.videos, arguments.frames, arguments.size, arguments.segments)
        pngs = [str(path) for path in sorted(root.rglob("*.png"))]
        works = {
            "OpenCV": lambda: [cv2.imread(path) is None for path in pngs],
            "Pillow": lambda: [np.asarray(Image.open(path)).shape for path in pngs],
            "scores": lambda: score_vipseg(root / "truth.json", root / "truth", root / "found"),
        }
        seconds = dict.fromkeys(works, float("inf"))
        for _ in range(arguments.repeats):
            for name, work in works.items():
                spent, result = cpu_time(work)
                seconds[name] = min(seconds[name], spent)
    print(f"{arguments.videos} videos x {arguments.frames} frames of {arguments.size}")
    print(f"  VPQ and STQ {seconds['scores']:.2f} s of CPU for {len(pngs)} PNGs")
    for name in ("OpenCV", "Pillow"):
        ratio = seconds["scores"] / seconds[name]
        print(f"  decoding them with {name} {seconds[name]:.2f} s: ratio {ratio:.2f}")
    draws = np.random.default_rng(1).integers(0, arguments.videos, (200, arguments.videos))
    spent, _ = cpu_time(lambda: [summarize(result.stats, draw) for draw in draws])
    print(f"  a resample of the videos {spent / len(draws) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
