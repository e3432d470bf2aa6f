"""Data sets as they should be: what is checked, counted and printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from data.damage import FRAME, RLE, damaged, edit

from videomt_bench.data.check import CHECKS, CheckResult, check_dataset
from videomt_bench.data.classes import BENCHMARKS
from videomt_bench.errors import BenchError


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("dataset", ["generated", "vipseg", "vspw", "coco"])
def test_a_clean_set_has_no_problems(clean: Path, dataset: str, full: bool) -> None:
    result = check_dataset(dataset, clean / dataset, "train", full=full)
    assert result.problems == ()
    assert result.ok
    assert result.annotated
    videos, frames = (3, 3) if dataset == "coco" else (2, 6)
    assert (result.videos, result.frames) == (videos, frames)
    assert sum(result.sizes.values()) == videos
    assert result.lines() == []
    json.dumps(result.to_json())


def test_the_summary(clean: Path) -> None:
    result = check_dataset("generated", clean / "generated", "train")
    document = json.loads((clean / "generated" / "train.json").read_text())
    assert (result.objects, result.categories) == (len(document["annotations"]), 4)
    assert result.sizes == {"16x20": 2}
    panoptic = check_dataset("vipseg", clean / "vipseg", "train")
    document = json.loads((clean / "vipseg" / "panoptic_gt_VIPSeg_train.json").read_text())
    tubes = {
        (video["video_id"], segment["id"])
        for video in document["annotations"]
        for frame in video["annotations"]
        for segment in frame["segments_info"]
    }
    assert (panoptic.objects, panoptic.categories) == (len(tubes), 8)
    coco = check_dataset("coco", clean / "coco", "train2017")
    assert (coco.objects, coco.sizes) == (3, {"16x20": 1, "17x20": 1, "18x20": 1})


def test_files_without_annotations_are_no_problem(clean: Path, tmp_path: Path) -> None:
    result = damaged(clean, tmp_path, "generated", edit("train.json", "annotations"))
    assert result.ok
    assert not result.annotated
    assert result.objects is None

    def no_masks(root: Path) -> None:
        for folder in (root / "data").iterdir():
            shutil.rmtree(folder / "mask")

    result = damaged(clean, tmp_path, "vspw", no_masks)
    assert result.ok
    assert not result.annotated


def test_a_link_to_the_whole_folder_is_no_problem(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    shutil.copy(clean / "generated" / "train.json", tmp_path / "data")
    (tmp_path / "data" / "train" / "JPEGImages").symlink_to(
        clean / "generated" / "train" / "JPEGImages"
    )
    assert check_dataset("generated", tmp_path / "data", "train").ok


def benchmark(clean: Path, root: Path, dataset: str, split: str = "train") -> CheckResult:
    """The generated set with the classes and in the layout of a benchmark."""
    document = json.loads((clean / "generated" / "train.json").read_text())
    document["categories"] = [{"id": c.id, "name": c.name} for c in BENCHMARKS[dataset]]
    frames = root / split / ("" if dataset == "ovis" else "JPEGImages")
    shutil.copytree(clean / "generated" / "train" / "JPEGImages", frames)
    name = "annotations/annotations_{}.json" if dataset == "ovis" else "{}.json"
    (root / "annotations").mkdir()
    (root / name.format(split)).write_text(json.dumps(document))
    return check_dataset(dataset, root, split)


@pytest.mark.parametrize(
    ("dataset", "split"),
    [("ytvis_2019", "train"), ("ytvis_2021", "valid"), ("ytvis_2022", "valid"), ("ovis", "test")],
)
def test_the_layouts_of_benchmarks(clean: Path, tmp_path: Path, dataset: str, split: str) -> None:
    result = benchmark(clean, tmp_path, dataset, split)
    assert result.ok, result.problems
    assert result.categories == len(BENCHMARKS[dataset])


def test_the_classes_of_another_benchmark(clean: Path, tmp_path: Path) -> None:
    assert benchmark(clean, tmp_path, "ytvis_2021").ok
    (problem,) = check_dataset("ytvis_2019", tmp_path, "train").problems
    assert problem.kind == "category"
    assert "train.json does not look like ytvis_2019" in problem.sentence


def test_the_truth_of_ytvis_2022_is_checked_where_it_is(clean: Path, tmp_path: Path) -> None:
    assert benchmark(clean, tmp_path, "ytvis_2022", "valid").ok
    document = json.loads((tmp_path / "valid.json").read_text())
    document["annotations"][0]["segmentations"][0] = RLE
    (tmp_path / "gt_long.json").write_text(json.dumps(document))
    (problem,) = check_dataset("ytvis_2022", tmp_path, "valid").problems
    assert problem.sentence.startswith("gt_long.json, annotation 1, frame 0: ")


def test_printed_problems_are_few_and_counted(clean: Path, tmp_path: Path) -> None:
    def damage(root: Path) -> None:
        for path in (root / "train" / "JPEGImages").rglob("*.jpg"):
            path.unlink()
        edit("train.json", "annotations", 0, "category_id", value=9)(root)

    result = damaged(clean, tmp_path, "generated", damage)
    assert len(result.problems) == 7
    lines = result.lines(2)
    assert len(lines) == 4
    assert "… and 4 more of this kind (missing)" in lines
    assert any("category_id 9" in line for line in lines)


def test_order_and_progress_do_not_depend_on_threads(clean: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def missing(root: Path) -> None:
        (root / FRAME).unlink()

    one = damaged(clean, tmp_path / "a", "generated", missing, workers=1)
    root = tmp_path / "a" / "generated"
    many = check_dataset(
        "generated", root, "train", workers=8, on_progress=lambda *done: calls.append(done)
    )
    assert one == many
    assert calls == [(1, 2), (2, 2)]


def test_names_cannot_write_to_the_terminal(clean: Path, tmp_path: Path) -> None:
    name = "00002/\x1b[2J\ud800.jpg"
    damage = edit("train.json", "videos", 1, "file_names", 0, value=name)
    (problem,) = damaged(clean, tmp_path, "generated", damage).problems
    assert problem.sentence.isprintable()
    problem.sentence.encode()


@pytest.mark.parametrize("dataset", CHECKS)
def test_an_empty_folder_and_an_unknown_split(tmp_path: Path, dataset: str) -> None:
    for split in ("train", "val", "x", "../x", "a\0b"):
        assert not check_dataset(dataset, tmp_path, split).ok


def test_what_does_raise(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"unknown dataset 'ytvis_2020'; did you mean 'ytvis_20"):
        check_dataset("ytvis_2020", tmp_path, "train")
    with pytest.raises(BenchError, match=r"no folder .*nowhere"):
        check_dataset("ovis", tmp_path / "nowhere", "train")
    with pytest.raises(BenchError, match="-1 threads"):
        check_dataset("ovis", tmp_path, "train", workers=-1)


def test_no_torch() -> None:
    names = ("check", "split", "generate_panoptic", "generate_semantic")
    code = "import sys;" + "".join(f"import videomt_bench.data.{n};" for n in names)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"{code}assert 'torch' not in sys.modules"]
    subprocess.run(command, check=True, env=environment)
