"""Semantic scoring: the CPU time of mIoU and mVC against that of decoding each PNG once.

    python tests/benchmarks/bench_semantic.py --videos 12 --frames 30

Not a test: it asserts nothing about time. The ratio is the number to keep, since both sides of it
run on the same machine one after the other. Decoding is PIL alone, without the checks of ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from PIL import Image

from videomt_bench.evaluation.semantic import score_vspw, summarize


def regions(rng, length, height, width, count=25):
    """Classes 0..123 in ragged, slowly moving regions on a background."""
    y, x = np.mgrid[:height, :width]
    centre = rng.uniform(0, (height, width), (count, 2))
    speed, radius = rng.uniform(-2, 2, (count, 2)), rng.uniform(20, 150, (count, 2))
    wave, classes = rng.uniform(0.02, 0.2, (count, 2)), rng.integers(0, 124, count)
    for t in range(length):
        mask = np.full((height, width), classes[0], np.uint8)
        for i in range(1, count):
            cy, cx = centre[i] + t * speed[i]
            distance = ((y - cy) / radius[i, 0]) ** 2 + ((x - cx) / radius[i, 1]) ** 2
            ragged = 0.2 * np.sin(wave[i, 0] * x + wave[i, 1] * y)
            mask[distance + ragged < 1] = classes[i]
        yield mask


def write(folder, rng, videos, length, height, width, noise):
    """Truth and predictions; a share ``noise`` of the predicted pixels is random."""
    truth, predictions = folder / "truth", folder / "predictions"
    for v in range(videos):
        mask_folder = truth / "data" / f"video{v:03d}" / "mask"
        mask_folder.mkdir(parents=True)
        (predictions / mask_folder.parent.name).mkdir(parents=True)
        for t, mask in enumerate(regions(rng, length, height, width)):
            predicted = np.roll(mask, 2, 1)
            wrong = rng.random(mask.shape) < noise
            predicted[wrong] = rng.integers(0, 124, np.count_nonzero(wrong))
            Image.fromarray(mask + 1).save(mask_folder / f"{t:08d}.png")
            Image.fromarray(predicted).save(predictions / f"video{v:03d}" / f"{t:08d}.png")
    (truth / "val.txt").write_text("".join(f"video{v:03d}\n" for v in range(videos)))
    return truth, predictions


def decode_all(folder):
    """Every PNG once."""
    for path in sorted(folder.rglob("*.png")):
        np.asarray(Image.open(path))


def cpu(work, *arguments):
    """CPU seconds and the result."""
    start = time.process_time()
    result = work(*arguments)
    return time.process_time() - start, result


def main() -> None:
    """Print the ratio and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=853)
    parser.add_argument("--noise", type=float, default=0.0, help="share of random pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    a = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees = write(folder, rng, a.videos, a.frames, a.height, a.width, a.noise)
        decode_all(folder)
        decoding, scoring = [], []
        for _ in range(a.repeats):
            decoding.append(cpu(decode_all, folder)[0])
            seconds, result = cpu(lambda: score_vspw(*trees))
            scoring.append(seconds)
    once, ours = min(decoding), min(scoring)
    print(f"{a.videos} videos x {a.frames} frames of {a.height}x{a.width}, noise {a.noise}")
    print(f"  decoding each PNG once {once:.2f} s, scoring with decoding {ours:.2f} s of CPU")
    print(f"  ratio {ours / once:.2f}")
    draws = rng.integers(0, a.videos, (a.resamples, a.videos))
    seconds, _ = cpu(lambda: [summarize(result.stats, draw) for draw in draws])
    print(f"{a.resamples} resamples of {a.videos} videos, {len(result.stats.cell_video)} cells")
    print(f"  {seconds:.2f} s")


if __name__ == "__main__":
    main()
