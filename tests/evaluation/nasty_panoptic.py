"""Small panoptic data sets with everything that makes VPQ and STQ differ from the easy case."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = (
    {"id": 0, "name": "wall", "isthing": 0},
    {"id": 3, "name": "sky", "isthing": 0},
    {"id": 7, "name": "cat", "isthing": 1},
    {"id": 60, "name": "dog", "isthing": 1},
    {"id": 123, "name": "car", "isthing": 1},
)


class Data:
    """A data set to be changed and written: id maps (F, H, W) and lists of segments."""

    def __init__(self) -> None:
        self.categories = [dict(category) for category in CATEGORIES]
        self.truth: dict[str, list] = {}
        self.predicted: dict[str, list] = {}

    def write(self, root: Path) -> tuple[Path, Path, Path]:
        """The arguments of ``score_vipseg``."""
        videos, annotations = [], []
        for name, frames in self.truth.items():
            images = [{"id": t, "file_name": f"{t:05d}.png"} for t in range(len(frames))]
            videos.append({"video_id": name, "images": images})
            annotations.append(_annotate(root / "truth", name, frames, "png"))
        truth = {"videos": videos, "annotations": annotations, "categories": self.categories}
        (root / "truth.json").write_text(json.dumps(truth))
        found = [
            _annotate(root / "found" / "pan_pred", name, frames, "jpg")
            for name, frames in self.predicted.items()
        ]
        (root / "found").mkdir(exist_ok=True)
        (root / "found" / "pred.json").write_text(json.dumps({"annotations": found}))
        return root / "truth.json", root / "truth", root / "found"


def edit(path: Path, change) -> None:
    """Change a JSON file in place; ``change`` takes its content."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def write_png(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    Image.fromarray(rgb).save(path)


def nasty_data(seed: int, videos: int = 3) -> Data:
    """Random videos of 1 to 11 frames of different sizes."""
    rng = np.random.default_rng(seed)
    data = Data()
    for v in range(videos):
        frames, size = int(rng.integers(1, 12)), rng.integers(4, 9, 2)
        name = f"{'cab'[v % 3]}_{v}"
        truth = _scene(rng, frames, size, crowd=0.2)
        kind = rng.integers(6)
        if kind == 0:
            predicted = _empty(frames, size)
        elif kind == 1:
            predicted = _scene(rng, frames, size, crowd=0)
        else:
            predicted = _disturbed(rng, truth)
        data.truth[name], data.predicted[name] = truth, predicted
    return data


def _scene(rng, frames, size, crowd):
    """Moving rectangles over void; ids may share a category, and change it between frames."""
    number = int(rng.integers(2, 7))
    ids = rng.choice(np.r_[1:6, 255:258, 65535:65538, 2**24 - 2 : 2**24], number, replace=False)
    category = {int(i): int(rng.choice([c["id"] for c in CATEGORIES])) for i in ids}
    crowds = {i for i in category if rng.random() < crowd}
    corner, speed = rng.uniform(0, size, (number, 2)), rng.normal(0, 0.4, (number, 2))
    extent = rng.uniform(1, size * 0.8, (number, 2))
    scene = []
    for t in range(frames):
        pixels = np.zeros(size, np.int64)
        for i, (y, x), (h, w) in zip(ids, corner + t * speed, extent, strict=True):
            pixels[max(int(y), 0) : max(int(y + h), 0), max(int(x), 0) : max(int(x + w), 0)] = i
        for i in category:
            if rng.random() < 0.06:
                category[i] = int(rng.choice([c["id"] for c in CATEGORIES]))
            if rng.random() < 0.05:
                crowds ^= {i} if crowd else set()
        scene.append((pixels, _segments(rng, pixels, category, crowds)))
    return scene


def _disturbed(rng, truth):
    """The truth with other ids, noise, void, and wrong categories."""
    present = sorted({i for pixels, _ in truth for i in np.unique(pixels).tolist()} - {0})
    new = dict(zip(present, (rng.permutation(len(present)) + 1 + 7 * 256).tolist(), strict=True))
    if rng.random() < 0.4 and len(present) > 1:
        new[present[0]] = new[present[1]]
    category = {new[s["id"]]: s["category_id"] for _, info in truth for s in info}
    for i in category:
        if rng.random() < 0.2:
            category[i] = int(rng.choice([c["id"] for c in CATEGORIES]))
    disturbed = []
    for pixels, _ in truth:
        mapped = np.zeros_like(pixels)
        for old, i in new.items():
            mapped[pixels == old] = i
        noise = rng.random(pixels.shape)
        mapped[noise < 0.1] = rng.choice([0, *category])
        mapped[noise > 0.93] = 0
        if rng.random() < 0.2:
            mapped = np.roll(mapped, 1, axis=1)
        for i in category:
            if rng.random() < 0.05:
                category[i] = int(rng.choice([c["id"] for c in CATEGORIES]))
        disturbed.append((mapped, _segments(rng, mapped, category, set())))
    return disturbed


def _empty(frames, size):
    return [(np.zeros(size, np.int64), []) for _ in range(frames)]


def _segments(rng, pixels, category, crowds):
    """In random order."""
    there = rng.permutation(np.setdiff1d(pixels, 0)).tolist()
    return [
        {
            "id": i,
            "category_id": category[i],
            "iscrowd": int(i in crowds),
            "area": int((pixels == i).sum()),
            "bbox": [0, 0, 1, 1],
        }
        for i in there
    ]


def _annotate(root, name, frames, suffix):
    entries = []
    for t, (pixels, segments) in enumerate(frames):
        write_png(root / name / f"{t:05d}.png", pixels)
        entries.append({"image_id": t, "file_name": f"{t:05d}.{suffix}", "segments_info": segments})
    return {"video_id": name, "annotations": entries}


def arithmetic_data() -> Data:
    """Data without random numbers, for results that are written down."""
    data = Data()
    y, x = np.mgrid[:9, :12]
    order = [c["id"] for c in CATEGORIES]
    for v, frames in enumerate((3, 9, 10)):
        truth, predicted = [], []
        for t in range(frames):
            ids = (y + t // 3) // 3 * 4 + (x + v) // 4 + 1
            ids[(x + y + t) % 11 == 0] = 0
            found = (y + t // 4) // 3 * 4 + (x + v + (t % 5 == 4)) // 4 + 300
            found[(x * y + t) % 13 == 0] = 0
            for store, pixels, shift in ((truth, ids, 0), (predicted, found, 300 - 1)):
                info = [
                    {
                        "id": int(i),
                        "category_id": order[int(i - shift + 2 * v + (i % 5 == 0) * (t // 4)) % 5],
                        "iscrowd": int(shift == 0 and i % 6 == 2),
                        "area": int((pixels == i).sum()),
                    }
                    for i in np.setdiff1d(pixels, 0)
                ]
                store.append((pixels, info))
        data.truth[f"video{v}"], data.predicted[f"video{v}"] = truth, predicted
    return data
