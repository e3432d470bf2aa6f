from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from videomt_bench.data.augment import Augmentation, ImageMotion
from videomt_bench.data.classes import OVIS, YTVIS_2019, YTVIS_2021, Category
from videomt_bench.data.clips import TrainClips
from videomt_bench.data.coco import CocoIndex
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.generate_semantic import make_vspw
from videomt_bench.data.layouts import LAYOUTS, locate, open_dataset
from videomt_bench.data.mixture import MixedClips
from videomt_bench.data.panoptic import PanopticIndex
from videomt_bench.data.semantic import SemanticIndex
from videomt_bench.data.split import split_dataset
from videomt_bench.data.ytvis import YTVISIndex
from videomt_bench.errors import BenchError

RLE = {"size": [8, 8], "counts": [8, 32, 24]}
SMALL = GeneratorSettings(2, 4, 16, 24)


def write_instances(json_path: Path, frames_root: Path, categories: Sequence[Category]) -> None:
    """One video of three frames with one object of the last class."""
    names = [f"v/img_{t}.jpg" for t in range(3)]
    (frames_root / "v").mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8)).save(frames_root / name)
    track = dict(id=1, video_id=1, category_id=categories[-1].id, iscrowd=0)
    track |= dict(segmentations=[RLE] * 3, bboxes=[[1, 0, 4, 8]] * 3, areas=[32] * 3)
    document = {
        "videos": [dict(id=1, height=8, width=8, length=3, file_names=names)],
        "annotations": [track],
        "categories": [{"id": c.id, "name": c.name} for c in categories],
    }
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(document))


def write_coco(root: Path) -> None:
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.new("RGB", (8, 8)).save(root / "train2017" / "1.jpg")
    square = [[1, 1, 6, 1, 6, 6, 1, 6]]
    document = {
        "images": [dict(id=1, height=8, width=8, file_name="1.jpg")],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            dict(id=1, image_id=1, category_id=1, iscrowd=0, segmentation=square, bbox=[1, 1, 5, 5])
        ],
    }
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("name", "split", "annotations", "frames", "categories"),
    [
        ("ytvis_2019", "train", "train.json", "train/JPEGImages", YTVIS_2019),
        ("ytvis_2019", "valid", "valid.json", "valid/JPEGImages", YTVIS_2019),
        ("ytvis_2021", "train", "train/instances.json", "train/JPEGImages", YTVIS_2021),
        ("ytvis_2022", "valid", "valid.json", "valid/JPEGImages", YTVIS_2021),
        ("ytvis_2022", "gt_long", "gt_long.json", "valid/JPEGImages", YTVIS_2021),
        ("ovis", "train", "annotations/annotations_train.json", "train", OVIS),
        ("ovis", "valid", "annotations_valid.json", "valid", OVIS),
        ("generated", "odd", "odd.json", "odd/JPEGImages", YTVIS_2019[:3]),
    ],
)
def test_instance_layouts(
    tmp_path: Path, name: str, split: str, annotations: str, frames: str, categories: Any
) -> None:
    write_instances(tmp_path / annotations, tmp_path / frames, categories)
    index = open_dataset(name, tmp_path, split)
    assert isinstance(index, YTVISIndex)
    assert index.path == tmp_path / annotations
    assert index.frames_root == tmp_path / frames
    clip = TrainClips(index, 2, Augmentation(), 0)[0]
    assert clip.labels.tolist() == [len(categories) - 1]
    assert clip.masks.sum() == 64


@pytest.mark.parametrize(
    ("name", "annotations", "frames", "categories"),
    [
        ("ytvis_2019", "train.json", "train/JPEGImages", YTVIS_2019),
        ("ytvis_2021", "train/instances.json", "train/JPEGImages", YTVIS_2021),
        ("ovis", "annotations/annotations_train.json", "train", OVIS),
    ],
)
def test_hold_outs_beside_the_whole(
    tmp_path: Path, name: str, annotations: str, frames: str, categories: Any
) -> None:
    path = tmp_path / annotations
    write_instances(path, tmp_path / frames, categories)
    document = json.loads(path.read_text())
    document["videos"].append({**document["videos"][0], "id": 2})
    path.write_text(json.dumps(document))
    split_dataset(path, path.parent, fraction=0.5, seed=0)
    for part in ("kept", "held"):
        index = open_dataset(name, tmp_path, f"train_{part}")
        assert isinstance(index, YTVISIndex)
        assert index.frames_root == tmp_path / frames
        assert len(index.videos) == 1
    with pytest.raises(BenchError, match=f"split of {name} 'trial_kept'"):
        open_dataset(name, tmp_path, "trial_kept")


@pytest.mark.parametrize("inner", ["", "VIPSeg_720P"])
def test_vipseg(tmp_path: Path, inner: str) -> None:
    make_vipseg(tmp_path / inner, GeneratorSettings(2, 4, 16, 24, split="val"))
    index = open_dataset("vipseg", tmp_path, "val")
    assert isinstance(index, PanopticIndex)
    assert len(index.videos) == 2
    clip = TrainClips(index, 3, Augmentation((32,), flip=0.5), 0)[0]
    assert clip.masks.shape == (len(clip.labels), 3, 32, 48)
    assert clip.masks.sum(0).max() == 1
    with pytest.raises(BenchError, match=r"'train' of vipseg .*VIPSeg_train\.json"):
        open_dataset("vipseg", tmp_path, "train")


def test_vspw(tmp_path: Path) -> None:
    make_vspw(tmp_path, SMALL)
    index = open_dataset("vspw", tmp_path, "train")
    assert isinstance(index, SemanticIndex)
    clip = TrainClips(index, 3, Augmentation((32,), flip=0.5), 0)[0]
    assert clip.masks.shape == (len(clip.labels), 3, 32, 48)
    assert sorted(set(clip.labels.tolist())) == clip.labels.tolist()


@pytest.mark.parametrize(
    ("name", "classes", "label"),
    [("coco2ytvis2019", 40, 0), ("coco2ytvis2021", 40, 25), ("coco2ovis", 25, 0)],
)
def test_coco(tmp_path: Path, name: str, classes: int, label: int) -> None:
    write_coco(tmp_path)
    index = open_dataset(name, tmp_path, "train")
    assert isinstance(index, CocoIndex)
    assert len(index.categories) == classes
    assert index.videos[0].objects[0].label == label


def test_the_official_training_mixture(tmp_path: Path) -> None:
    """COCO pseudo-videos and videos, one to one."""
    write_coco(tmp_path / "coco")
    video = tmp_path / "ytvis_2019"
    write_instances(video / "train.json", video / "train" / "JPEGImages", YTVIS_2019)
    augmentation = Augmentation((16,), flip=0.5)
    coco = open_dataset("coco2ytvis2019", tmp_path / "coco", "train")
    ytvis = open_dataset("ytvis_2019", video, "train")
    streams = [
        TrainClips(coco, 5, ImageMotion(augmentation), seed=0),
        TrainClips(ytvis, 5, augmentation, seed=0),
    ]
    mixed = MixedClips(streams, (1, 1), seed=0)
    clips = [mixed[i] for i in range(12)]
    assert {clip.labels.tolist()[0] for clip in clips} == {0, 39}
    assert all(clip.frames.shape == (5, 3, 16, 16) for clip in clips)


def test_the_classes_of_another_data_set(tmp_path: Path) -> None:
    write_instances(tmp_path / "train.json", tmp_path / "train" / "JPEGImages", YTVIS_2021)
    with pytest.raises(BenchError, match=r"train\.json does not look like ytvis_2019"):
        open_dataset("ytvis_2019", tmp_path, "train")
    assert isinstance(open_dataset("generated", tmp_path, "train"), YTVISIndex)


def test_generated(tmp_path: Path) -> None:
    make_ytvis(tmp_path, SMALL)
    index = open_dataset("generated", tmp_path, "train")
    assert isinstance(index, YTVISIndex)
    assert index.annotated


NASTY = (
    None,
    True,
    -1,
    0,
    1.5,
    1e400,
    2**70,
    "",
    "..",
    "\0",
    [],
    {},
    [[]],
    {"a": 1},
    [[1e400] * 6],
)


def variants(value: Any) -> Iterator[Any]:
    """A document with one value anywhere replaced or, in an object, left out."""
    yield from NASTY
    if isinstance(value, dict):
        for key, inner in value.items():
            rest = {k: v for k, v in value.items() if k != key}
            yield rest
            for other in variants(inner):
                yield {**rest, key: other}
    elif isinstance(value, list) and value:
        for other in variants(value[0]):
            yield [other, *value[1:]]


@pytest.mark.parametrize(("name", "split"), [("coco2ovis", "train"), ("vipseg", "val")])
def test_no_value_anywhere_gives_a_traceback(tmp_path: Path, name: str, split: str) -> None:
    if name == "vipseg":
        make_vipseg(tmp_path, GeneratorSettings(1, 1, 16, 16, split="val"))
    else:
        write_coco(tmp_path)
    path = locate(name, tmp_path, split).annotations
    sentences = []
    for document in variants(json.loads(path.read_text())):
        path.write_text(json.dumps(document))
        try:
            index: Any = open_dataset(name, tmp_path, split)
            for video in index.videos:
                index.load_objects(video, [0])
        except BenchError as error:
            sentences.append(str(error))
    assert len(sentences) > 100
    assert not any("\n" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        ("ytvis2019", "train", "unknown data set 'ytvis2019'; did you mean"),
        ("vipseg", "valid", "split of vipseg 'valid'; did you mean 'val'"),
        ("ytvis_2022", "train", "split of ytvis_2022 'train'"),
        ("generated", "../x", "'../x' is not the name of a split"),
        ("ytvis_2019", "train", "'train' of ytvis_2019 .*train.json and .*train/instances.json"),
        ("vspw", "train", "'train' of vspw .*train.txt"),
        ("coco2ovis", "train", "instances_train2017.json"),
    ],
)
def test_what_is_not_there(tmp_path: Path, name: str, split: str, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        open_dataset(name, tmp_path, split)


def test_missing_frames_folder(tmp_path: Path) -> None:
    write_instances(tmp_path / "train.json", tmp_path / "train" / "JPEGImages", YTVIS_2019)
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(BenchError, match=r"train\.json has no frames.*train/JPEGImages"):
        open_dataset("ytvis_2019", tmp_path, "train")


def test_locate_gives_the_folder_of_masks(tmp_path: Path) -> None:
    make_vipseg(tmp_path, SMALL)
    files = locate("vipseg", tmp_path, "train")
    assert files.masks == tmp_path / "panomasksRGB"
    assert files.frames == tmp_path / "images"
    make_vspw(tmp_path / "s", SMALL)
    assert locate("vspw", tmp_path / "s", "train").masks is None
    assert {"ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis", "vipseg", "vspw"} < set(LAYOUTS)


def test_reading_needs_no_torch() -> None:
    names = ("layouts", "coco", "panoptic", "semantic", "classes", "sources")
    code = "import sys;" + "".join(f"import videomt_bench.data.{n};" for n in names)
    subprocess.run([sys.executable, "-c", f"{code}assert 'torch' not in sys.modules"], check=True)
