"""Frames per second of the training loader on one core, and where its time goes.

    python tests/benchmarks/bench_loader.py
    python tests/benchmarks/bench_loader.py --clips 40 --height 720 --width 1280

Clips of 5 JPEG frames with about 4 objects, under the augmentation of the VIS recipes (crop branch,
resize to a random short side, flip), in batches of two; not a test of time. It takes turns with a
straightforward loader, PIL and one mask at a time, that draws the same clips and augmentations, so
both decode the same files to the same sizes. The ratio is the number to keep; frames per second
are those of this machine. All times are those of the processor, so that other programs matter less.
"""

# ruff: noqa: E402  (the path comes before the imports)

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from videomt_bench.data import augment, clips, frames, ytvis
from videomt_bench.data.augment import Augmentation
from videomt_bench.data.clips import MEAN, STD, TrainClips, collate
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import YTVISIndex, locate_ytvis, read_ytvis

FRAMES, DIVISOR = 5, 32
SIDES = (320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640)
VIS = Augmentation(short_sides=SIDES, crop=True, flip=0.5)


def make(root: Path, height: int, width: int) -> YTVISIndex:
    """Video with the detail of photographs: its JPEG files have 1.5 to 2 bits per pixel."""
    settings = GeneratorSettings(videos=4, frames=12, height=height, width=width)
    make_ytvis(root, settings)
    rng = np.random.default_rng(0)
    for file in root.rglob("*.jpg"):
        image = np.asarray(Image.open(file)).astype(np.float32)
        coarse = rng.normal(0, 12, (height // 2, width // 2, 3)).repeat(2, 0).repeat(2, 1)
        noisy = np.clip(image + coarse, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(file, quality=85)
    return read_ytvis(*locate_ytvis(root, settings.split))


def ours(stream: TrainClips, numbers: range) -> int:
    """Pixels of a batch."""
    return collate([stream[i] for i in numbers], DIVISOR).frames.numel() // 3


class Plain:
    """The same clips by PIL, one image and one mask after the other."""

    def __init__(self, stream: TrainClips) -> None:
        self.stream = stream

    def batch(self, numbers: range) -> int:
        found = [self.clip(i) for i in numbers]
        height = max(images[0].height for images, _ in found)
        width = max(images[0].width for images, _ in found)
        height, width = (-(-side // DIVISOR) * DIVISOR for side in (height, width))
        tensors, masks = [], []
        for images, tracks in found:
            for image in images:
                array = (np.asarray(image).astype(np.float32) - MEAN) / STD
                padded = np.zeros((height, width, 3), np.float32)
                padded[: array.shape[0], : array.shape[1]] = array
                tensors.append(torch.from_numpy(padded).permute(2, 0, 1).contiguous())
            for mask in tracks:
                padded = np.zeros((height, width), bool)
                padded[: mask.height, : mask.width] = np.asarray(mask)
                masks.append(torch.from_numpy(padded))
        return torch.stack(tensors).numel() // 3 + 0 * len(torch.stack(masks))

    def clip(self, i: int) -> tuple[list[Image.Image], list[Image.Image]]:
        stream = self.stream
        video = stream.videos[stream._video(i)]
        rng = np.random.default_rng([stream.seed, i, 1])
        at = stream._indices(len(video.file_names), rng)
        root = stream.source.frames_root
        images = [Image.open(root / video.file_names[t]).convert("RGB") for t in at]
        masks = []
        for track in video.tracks:
            for t in at:
                rle = track.segmentations[t]
                empty = np.zeros((video.height, video.width), np.uint8)
                masks.append(Image.fromarray(empty if rle is None else coco_mask.decode(rle)))
        return self.augment(images, masks, rng)

    def augment(self, images, masks, rng):
        def resize(side: int, longest: int) -> None:
            width, height = images[0].size
            size = augment.test_size(height, width, side, longest)[::-1]
            images[:] = [image.resize(size, Image.Resampling.BILINEAR) for image in images]
            masks[:] = [mask.resize(size, Image.Resampling.NEAREST) for mask in masks]

        if rng.random() < VIS.crop_probability:
            resize(int(rng.choice(VIS.crop_short_sides)), VIS.crop_max_size)
            low, high = VIS.crop_range
            area = images[0].size[::-1]
            h, w = (int(rng.integers(min(s, low), min(s, high) + 1)) for s in area)
            top, left = (int(rng.integers(a - s + 1)) for a, s in zip(area, (h, w), strict=True))
            box = (left, top, left + w, top + h)
            images[:] = [image.crop(box) for image in images]
            masks[:] = [mask.crop(box) for mask in masks]
        resize(int(rng.choice(VIS.short_sides)), VIS.max_size)
        if rng.random() < VIS.flip:
            images[:] = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
            masks[:] = [mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for mask in masks]
        return images, masks


@contextmanager
def stopwatch(seconds: dict[str, float]) -> Iterator[None]:
    """Adds up the processor seconds of the parts of our loader."""

    def timed(name: str, function: Callable) -> Callable:
        def run(*arguments, **options):
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.process_time() - start

        return run

    parts = {
        "decode JPEG": (frames, "_read"),
        "decode masks": (ytvis, "decode_masks"),
        "resize frames and masks": (augment, "_resize"),
        "normalise": (clips, "normalize"),
        "pad masks": (clips, "_pad"),
    }
    with ExitStack() as stack:
        for name, (module, function) in parts.items():
            stack.enter_context(
                patch.object(module, function, timed(name, getattr(module, function)))
            )
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        index = make(Path(folder), arguments.height, arguments.width)
        stream = TrainClips(index, FRAMES, VIS, seed=0)
        plain = Plain(stream)
        works = {"ours": lambda n: ours(stream, n), "plain": plain.batch}
        times: dict[str, float] = defaultdict(float)
        parts: dict[str, float] = defaultdict(float)
        pixels: dict[str, int] = defaultdict(int)
        batches = [range(i, i + 2) for i in range(0, arguments.clips, 2)]
        for i, numbers in enumerate([batches[0], *batches]):  # the first warms up
            for name, work in works.items():
                start = time.process_time()
                with stopwatch(parts if i and name == "ours" else defaultdict(float)):
                    count = work(numbers)
                if i:
                    times[name] += time.process_time() - start
                    pixels[name] += count
        tracks = np.mean([len(video.tracks) for video in index.videos])
        files = [f.stat().st_size * 8 for f in Path(folder).rglob("*.jpg")]
        bits = np.mean(files) / (arguments.height * arguments.width)
    assert pixels["ours"] == pixels["plain"], "both load the same clips"
    count = arguments.clips * FRAMES
    megapixels = pixels["ours"] / count / 1e6
    print(
        f"{count} frames of {arguments.height}x{arguments.width}, {bits:.1f} bits per pixel, "
        f"{tracks:.1f} tracks; {megapixels:.2f} megapixels each after augmentation and padding"
    )
    rest = times["ours"] - sum(parts.values())
    print(f"{'milliseconds of a frame':28}")
    for name, value in {**parts, "other": rest}.items():
        print(f"  {name:26}{value / count * 1e3:8.2f}")
    speeds = {name: count / value for name, value in times.items()}
    for name, value in speeds.items():
        print(f"{name:28}{1e3 / value:8.2f} ms {value:8.1f} frames per second and core")
    ratio = times["ours"] / times["plain"]
    print(f"{'ratio of times':28}{ratio:8.2f}")
    milliseconds = {name: value / count * 1e3 for name, value in parts.items()}
    print(json.dumps({"frames_per_second": speeds, "ratio": ratio, "milliseconds": milliseconds}))


if __name__ == "__main__":
    main()
