from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.damage import SMALL, make_coco
from PIL import Image
from pycocotools import mask as coco_mask

from videomt_bench.data.generate import make_ytvis
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.generate_semantic import make_vspw

HEIGHT, WIDTH, LENGTH = 12, 16, 3


def rle(mask: np.ndarray) -> dict[str, Any]:
    """Encoded by pycocotools, one mask at a time."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.fixture
def document() -> dict[str, Any]:
    """Two videos; the first has one object in all frames, one in the first two, and a crowd."""
    names = [[f"{v}/{t:05d}.jpg" for t in range(LENGTH)] for v in ("cat", "dog")]
    everywhere = [rle(box(1, 1 + t, 4, 5)) for t in range(LENGTH)]
    twice = [rle(box(6, 8, 3, 3)), rle(box(6, 9, 3, 3)), None]

    def annotation(key: int, video: int, category: int, masks: list[Any], crowd: int = 0) -> Any:
        return {
            "id": key,
            "video_id": video,
            "category_id": category,
            "iscrowd": crowd,
            "bboxes": [None if m is None else coco_mask.toBbox(m).tolist() for m in masks],
            "segmentations": masks,
            "areas": [None if m is None else int(coco_mask.area(m)) for m in masks],
        }

    return {
        "categories": [
            {"id": 30, "name": "c"},
            {"id": 10, "name": "a"},
            {"id": 20, "name": "b"},
        ],
        "videos": [
            {"id": v, "height": HEIGHT, "width": WIDTH, "length": LENGTH, "file_names": files}
            for v, files in zip((7, 3), names, strict=True)
        ],
        "annotations": [
            annotation(1, 7, 20, everywhere),
            annotation(2, 7, 10, twice),
            annotation(3, 7, 30, everywhere, crowd=1),
        ],
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[[dict[str, Any]], tuple[Path, Path]]:
    """Writes a document with grey frames; frame t of every video has the grey level 40 * t."""

    def write(document: dict[str, Any]) -> tuple[Path, Path]:
        root = tmp_path / "train" / "JPEGImages"
        for video in document["videos"]:
            for t, name in enumerate(video["file_names"]):
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (WIDTH, HEIGHT), (40 * t,) * 3).save(path)
        json_path = tmp_path / "train.json"
        json_path.write_text(json.dumps(document))
        return json_path, root

    return write


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per data set."""
    root = tmp_path_factory.mktemp("clean")
    make_ytvis(root / "generated", SMALL)
    make_vipseg(root / "vipseg", SMALL)
    make_vspw(root / "vspw", SMALL)
    make_coco(root / "coco")
    return root
