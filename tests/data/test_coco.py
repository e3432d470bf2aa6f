from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from videomt_bench.data.augment import Augmentation, ImageMotion
from videomt_bench.data.classes import dataset_categories
from videomt_bench.data.clips import Clip, TrainClips
from videomt_bench.data.coco import CATEGORY_MAPS, CocoIndex, read_coco
from videomt_bench.errors import BenchError

HEIGHT, WIDTH = 40, 60
COCO_NAMES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow",
    22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 34: "frisbee", 35: "skis",
    36: "snowboard", 41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle",
}  # fmt: skip
OTHER_NAMES = {
    ("bicycle", "motorbike"), ("motorcycle", "motorbike"), ("frisbee", "flying_disc"),
    ("car", "sedan"), ("skis", "snowboard"), ("car", "vehicle"), ("bus", "vehicle"),
    ("truck", "vehicle"),
}  # fmt: skip


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(key: int, image: int, category: int, shape: Any, crowd: int = 0) -> dict[str, Any]:
    return dict(id=key, image_id=image, category_id=category, segmentation=shape, iscrowd=crowd)


@pytest.fixture
def document() -> dict[str, Any]:
    """Of four images only 10 and 12 have objects of YT-VIS 2019; 12 has another size."""
    blob = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    blob[20:35, 30:50] = 1
    rle = coco_mask.encode(blob)
    return {
        "categories": [{"id": i, "name": name} for i, name in COCO_NAMES.items()],
        "images": [
            dict(id=i, file_name=f"{i:012d}.jpg", height=HEIGHT if i < 12 else 24, width=WIDTH)
            for i in (11, 10, 13, 12)
        ],
        "annotations": [
            annotation(1, 10, 18, [*rectangle(5, 5, 25, 15), [1, 1, 2, 2]]),
            annotation(2, 10, 44, rectangle(0, 0, 9, 9)),  # no class of YT-VIS
            annotation(3, 10, 2, dict(size=[HEIGHT, WIDTH], counts=rle["counts"].decode())),
            annotation(4, 10, 1, rectangle(0, 0, 9, 9), crowd=1),
            annotation(5, 11, 44, rectangle(0, 0, 9, 9)),
            annotation(6, 12, 7, rectangle(3, 4, 50, 20)),
            annotation(7, 13, 1, [[1, 1, 5, 5]]),  # encloses nothing
        ],
    }


@pytest.fixture
def write(document: Any, tmp_path: Path) -> Callable[[dict[str, Any]], tuple[Path, Path]]:
    root = tmp_path / "train2017"
    root.mkdir()
    for image in document["images"]:
        pixels = Image.new("RGB", (image["width"], image["height"]), (200, 200, 200))
        pixels.save(root / image["file_name"])

    def write(document: dict[str, Any]) -> tuple[Path, Path]:
        json_path = tmp_path / "annotations.json"
        json_path.write_text(json.dumps(document))
        return json_path, root

    return write


@pytest.mark.parametrize(
    ("benchmark", "used", "covered"), [("ytvis_2019", 21, 19), ("ytvis_2021", 23, 21),
                                       ("ytvis_2022", 23, 21), ("ovis", 17, 15)]
)  # fmt: skip
def test_maps_join_classes_of_one_name(benchmark: str, used: int, covered: int) -> None:
    pairs = CATEGORY_MAPS[benchmark]
    assert (len(pairs), len(set(pairs.values()))) == (used, covered)
    names = {c.id: c.name.lower() for c in dataset_categories(benchmark)}
    for coco_id, id_ in pairs.items():
        one, two = COCO_NAMES[coco_id], names[id_]
        assert one.replace(" ", "_") == two or (one, two) in OTHER_NAMES


def test_keeps_what_the_benchmark_can_use(document: Any, write: Any) -> None:
    index = read_coco(*write(document), "ytvis_2019")
    assert index.categories == dataset_categories("ytvis_2019")
    assert [v.name for v in index.videos] == ["000000000010.jpg", "000000000012.jpg"]
    assert [(v.height, v.width) for v in index.videos] == [(40, 60), (24, 60)]
    found = [[(o.id, index.categories[o.label].name) for o in v.objects] for v in index.videos]
    assert found == [[(1, "dog"), (3, "motorbike")], [(6, "train")]]
    names = [
        index.categories[o.label].name
        for index in [read_coco(*write(document), "ovis")]
        for v in index.videos
        for o in v.objects
    ]
    assert names == ["Dog", "Bicycle"]


def test_masks_as_pycocotools(document: Any, write: Any) -> None:
    document["annotations"][0]["segmentation"].pop()  # pycocotools takes 4 numbers for a box
    json_path, root = write(document)
    index, coco = read_coco(json_path, root, "ytvis_2019"), COCO(json_path)
    for image in index.videos:
        objects = index.load_objects(image, [0, 0, 0])
        assert objects.regions.shape == (len(image.objects), 3, image.height, image.width)
        assert objects.annotated.all()
        assert objects.labels.tolist() == [o.label for o in image.objects]
        for masks, item in zip(objects.regions, image.objects, strict=True):
            assert (masks == coco.annToMask(coco.anns[item.id])).all()


def test_copies_without_motion(document: Any, write: Any) -> None:
    clips = TrainClips(read_coco(*write(document), "ytvis_2019"), 4, Augmentation(), 0)
    assert len(clips) == 2
    clip = next(clips[i] for i in range(2) if len(clips[i].labels) == 2)
    assert clip.frames.shape == (4, 3, HEIGHT, WIDTH)
    assert (clip.frames == clip.frames[:1]).all()
    assert (clip.masks == clip.masks[:, :1]).all()
    assert clip.present.all()


BIG = (240, 320)


@pytest.fixture
def bar(tmp_path: Path) -> CocoIndex:
    """A long white bar around the middle of a grey image, and a small object in a corner."""
    left, top, right, bottom = 80, 110, 240, 130
    pixels = np.full((*BIG, 3), 80, dtype=np.uint8)
    pixels[top:bottom, left:right] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    document = {
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "images": [dict(id=1, file_name="a.png", height=BIG[0], width=BIG[1])],
        "annotations": [
            annotation(1, 1, 1, rectangle(left, top, right, bottom)),
            annotation(2, 1, 18, rectangle(0, 0, 6, 6)),
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    return read_coco(tmp_path / "a.json", tmp_path, "ytvis_2019")


def angle_and_centre(mask: np.ndarray) -> tuple[float, np.ndarray]:
    """Counter-clockwise degrees of the long axis of a mask, and its centroid (x, y)."""
    y, x = np.nonzero(mask)
    points = np.stack((x, y), 1) + 0.5
    centre = points.mean(0)
    _, _, axes = np.linalg.svd(points - centre, full_matrices=False)
    dx, dy = axes[0] * np.sign(axes[0][0])
    return float(np.degrees(np.arctan2(-dy, dx))), centre


def turning_point(angles: list[float], centres: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares: the point about which the centroids turn, and the largest residual."""
    rows, values = [], []
    for angle, centre in zip(angles[1:], centres[1:], strict=True):
        turn = np.radians(angle - angles[0])
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        rows.append(np.eye(2) - rotation)
        values.append(centre - rotation @ centres[0])
    point, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)
    return point, float(np.abs(np.concatenate(rows) @ point - np.concatenate(values)).max())


def test_motion_is_a_slow_rotation_about_one_point(bar: CocoIndex) -> None:
    clips = TrainClips(bar, 5, ImageMotion(Augmentation()), seed=3)
    directions, largest, points = set(), 0.0, []
    for i in range(12):
        clip = clips[i]
        assert clip.frames.shape == (5, 3, *BIG)
        assert clip.labels[0] == 0
        found = [angle_and_centre(mask.numpy()) for mask in clip.masks[0]]
        angles = [angle for angle, _ in found]
        steps = np.diff(angles)
        assert (steps > -0.2).all() or (steps < 0.2).all()
        directions.add(bool(steps.sum() > 0))
        largest = max(largest, *map(abs, angles))
        point, residual = turning_point(angles, np.array([centre for _, centre in found]))
        assert residual < 0.7
        if np.ptp(angles) > 10:
            points.append(point / (BIG[1], BIG[0]))
    assert directions == {True, False}
    assert 12 < largest < 15.3
    assert len(points) > 6
    assert np.min(points) > 0.38
    assert np.max(points) < 0.62
    assert np.ptp(points, axis=0).min() > 0.05


def test_masks_follow_the_pixels(bar: CocoIndex) -> None:
    motion = ImageMotion(Augmentation((150, 200), flip=0.5))
    clips = TrainClips(bar, 4, motion, seed=0)
    for i in range(8):
        clip = clips[i]
        white = clip.frames[:, 0] > 168
        assert (white != clip.masks[0]).float().mean() < 0.004
        assert (clip.frames[:, 0] == 0).any()  # black comes in from outside
        assert clip.frames.shape[-2:] == clip.masks.shape[-2:]


def test_an_object_turned_away_is_absent(bar: CocoIndex) -> None:
    clips = TrainClips(bar, 5, ImageMotion(Augmentation(), degrees=15), seed=1)
    corner = [clip for clip in map(clips.__getitem__, range(20)) if len(clip.labels) == 2]
    partly = [clip.present[1] for clip in corner if not clip.present[1].all()]
    assert partly
    for clip in corner:
        assert torch.equal(clip.present, clip.masks.flatten(2).any(2))
    assert len(corner) < 20  # away in all frames: no object


def test_deterministic(bar: CocoIndex) -> None:
    def clips(seed: int) -> list[Clip]:
        stream = TrainClips(bar, 3, ImageMotion(Augmentation(flip=0.5)), seed)
        return [stream[i] for i in (4, 0, 4)]

    first, again = clips(2), clips(2)
    assert torch.equal(first[0].masks, first[2].masks)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.frames, two.frames)
        assert torch.equal(one.masks, two.masks)
    assert not torch.equal(first[0].frames, clips(5)[0].frames)


def _set(*path: Any) -> Any:
    def change(document: Any) -> None:
        *head, last, value = path
        for key in head:
            document = document[key]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("images", {}), "'images' .*no list"),
        (_set("annotations", None), "'annotations'"),
        (_set("categories", 0, "id", "1"), "category .*'id'"),
        (_set("images", 0, "id", 10), "two images have the id 10"),
        (_set("images", 0, "file_name", "../x.jpg"), r"image 11 .*\.\./x\.jpg"),
        (_set("images", 0, "width", 0), "image 11 .*40 x 0"),
        (_set("annotations", 1, "id", 1), "annotation 1 is there twice"),
        (_set("annotations", 1, "image_id", 99), "annotation 2 is of image 99"),
        (_set("annotations", 1, "category_id", 77), "annotation 2 has category 77"),
        (_set("annotations", 0, "iscrowd", 7), "annotation 1 has 'iscrowd'"),
        (_set("annotations", 2, "segmentation", {"size": [1, 1], "counts": ""}), r"3 .*\[1, 1\]"),
        (_set("annotations", []), "no objects of the classes of ytvis_2019"),
    ],
)
def test_errors_name_file_and_place(document: Any, write: Any, change: Any, words: str) -> None:
    change(document)
    with pytest.raises(BenchError, match=f"annotations.json.*{words}"):
        read_coco(*write(document), "ytvis_2019")


def test_missing_segmentation_and_damaged_polygon(document: Any, write: Any) -> None:
    document["annotations"][0]["segmentation"] = [[1, 2, 3, "x", 5, 6]]
    index = read_coco(*write(document), "ytvis_2019")
    with pytest.raises(BenchError, match=r"annotation 1 of image '000000000010\.jpg'"):
        index.load_objects(index.videos[0], [0])
    del document["annotations"][0]["segmentation"]
    with pytest.raises(BenchError, match="annotation 1 lacks the key 'segmentation'"):
        read_coco(*write(document), "ytvis_2019")


def test_unknown_benchmark_and_missing_image(document: Any, write: Any) -> None:
    json_path, root = write(document)
    with pytest.raises(BenchError, match=r"'vipseg'.*valid: ovis"):
        read_coco(json_path, root, "vipseg")
    (root / "000000000012.jpg").unlink()
    clips = TrainClips(read_coco(json_path, root, "ytvis_2019"), 2, Augmentation(), 0)
    with pytest.raises(BenchError, match=r"000000000012\.jpg.*missing"):
        [clips[i] for i in range(2)]
