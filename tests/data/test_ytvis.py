from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from videomt_bench.data.ytvis import locate_ytvis, read_ytvis, track_masks
from videomt_bench.errors import BenchError


def test_reads_videos_tracks_and_contiguous_labels(document: Any, dataset: Any) -> None:
    index = read_ytvis(*dataset(document))
    assert [(c.id, c.name) for c in index.categories] == [(10, "a"), (20, "b"), (30, "c")]
    assert [(v.id, v.name, v.height, v.width) for v in index.videos] == [
        (7, "cat", 12, 16),
        (3, "dog", 12, 16),
    ]
    first = index.videos[0]
    assert first.file_names[2] == "cat/00002.jpg"
    assert [(t.id, t.category_id, t.label, t.iscrowd) for t in first.tracks] == [
        (1, 20, 1, False),
        (2, 10, 0, False),
        (3, 30, 2, True),
    ]
    assert index.videos[1].tracks == []
    assert index.annotated


def test_masks_as_pycocotools(document: Any, dataset: Any) -> None:
    video = read_ytvis(*dataset(document)).videos[0]
    masks = track_masks(video, video.tracks[1], [2, 0, 1])
    given = document["annotations"][1]["segmentations"]
    assert masks.shape == (3, 12, 16)
    assert not masks[0].any()
    assert np.array_equal(masks[1], coco_mask.decode(given[0]))
    assert np.array_equal(masks[2], coco_mask.decode(given[1]))


def test_present_needs_box_and_segmentation(document: Any, dataset: Any) -> None:
    document["annotations"][0]["bboxes"][1] = None
    track = read_ytvis(*dataset(document)).videos[0].tracks[0]
    assert [s is None for s in track.segmentations] == [False, True, False]


def test_released_validation_files_have_no_annotations(document: Any, dataset: Any) -> None:
    del document["annotations"]
    index = read_ytvis(*dataset(document))
    assert not index.annotated
    assert [len(v.tracks) for v in index.videos] == [0, 0]


def test_iscrowd_may_be_missing(document: Any, dataset: Any) -> None:
    del document["annotations"][0]["iscrowd"]
    assert not read_ytvis(*dataset(document)).videos[0].tracks[0].iscrowd


def _drop(*path: Any) -> Any:
    def change(document: Any) -> None:
        *head, last = path
        for key in head:
            document = document[key]
        del document[last]

    return change


def _set(*path: Any) -> Any:
    def change(document: Any) -> None:
        *head, last, value = path
        for key in head:
            document = document[key]
        document[last] = value

    return change


RLE = {"size": [16, 12], "counts": [192]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop("videos"), "'videos'"),
        (_drop("categories"), "'categories'"),
        (_drop("categories", 0, "name"), "a category .*'name'"),
        (_drop("videos", 0, "file_names"), "video 7 .*'file_names'"),
        (_drop("videos", 0, "id"), "a video .*'id'"),
        (_drop("annotations", 0, "segmentations"), "annotation 1 .*'segmentations'"),
        (_drop("annotations", 0, "bboxes"), "annotation 1 .*'bboxes'"),
        (_drop("annotations", 0, "category_id"), "annotation 1 .*'category_id'"),
        (_set("videos", []), "no videos"),
        (_set("videos", 0, "cat"), "a video .*'id'"),
        (_set("videos", {}), "'videos' .*no list"),
        (_set("videos", 1, "id", 7), "two videos .*7"),
        (_set("categories", 1, "id", 30), "two categories"),
        (_set("videos", 0, "height", 0), "video 7 .*0 x 16"),
        (_set("videos", 0, "height", 10**9), "video 7 .*1000000000"),
        (_set("videos", 0, "height", "12"), "video 7 .*'height'"),
        (_set("videos", 0, "file_names", []), "video 7 .*no frames"),
        (_set("videos", 0, "file_names", 1, "../../secret.jpg"), r"video 7 .*\.\./\.\./secret"),
        (_set("videos", 0, "file_names", 1, "a/../../s.jpg"), "video 7 .*inside"),
        (_set("videos", 0, "file_names", 1, "/etc/passwd"), "video 7 .*/etc/passwd"),
        (_set("videos", 0, "file_names", 1, "a\0b"), "video 7 .*inside"),
        (_set("videos", 0, "file_names", 1, 5), "video 7 .*file name"),
        (_set("annotations", 0, "category_id", 11), r"annotation 1 .*11.*\[10, 20, 30\]"),
        (_set("annotations", 0, "video_id", 99), "annotation 1 .*99"),
        (_set("annotations", 0, "segmentations", 2, RLE), r"annotation 1 .*7.*\[16, 12\]"),
        (_set("annotations", 0, "segmentations", []), "annotation 1 .*0 segmentations.*3 frames"),
        (_set("annotations", 0, "bboxes", [None]), "annotation 1 .*1 bboxes.*3 frames"),
    ],
)
def test_errors_name_file_and_place(document: Any, dataset: Any, change: Any, words: str) -> None:
    json_path, root = dataset(document)
    change(document)
    json_path.write_text(json.dumps(document))
    with pytest.raises(BenchError, match=f"train.json.*{words}"):
        read_ytvis(json_path, root)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '"x"'])
def test_not_a_document(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=r"x\.json is not"):
        read_ytvis(path, tmp_path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot read .*none\.json"):
        read_ytvis(tmp_path / "none.json", tmp_path)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match=r"b\.json is not JSON"):
        read_ytvis(tmp_path / "b.json", tmp_path)


def test_damaged_segmentation_names_its_annotation(document: Any, dataset: Any) -> None:
    document["annotations"][1]["segmentations"][0]["counts"] = "9"
    video = read_ytvis(*dataset(document)).videos[0]
    with pytest.raises(BenchError, match="annotation 2 of video 'cat'"):
        track_masks(video, video.tracks[1], [0])


def test_locate_both_layouts(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"train\.json and .*train/instances\.json"):
        locate_ytvis(tmp_path, "train")
    (tmp_path / "train").mkdir()
    inner = tmp_path / "train" / "instances.json"
    inner.touch()
    with pytest.raises(BenchError, match="train/JPEGImages"):
        locate_ytvis(tmp_path, "train")
    frames = tmp_path / "train" / "JPEGImages"
    frames.mkdir()
    assert locate_ytvis(tmp_path, "train") == (inner, frames)
    outer = tmp_path / "train.json"
    outer.touch()
    assert locate_ytvis(tmp_path, "train") == (outer, frames)


def test_reading_and_generating_need_no_torch() -> None:
    names = ("ytvis", "masks", "frames", "sampling", "scenes", "generate")
    code = "import sys;" + "".join(f"import videomt_bench.data.{n};" for n in names)
    subprocess.run([sys.executable, "-c", f"{code}assert 'torch' not in sys.modules"], check=True)
