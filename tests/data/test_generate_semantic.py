from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videomt_bench.data.check import check_dataset
from videomt_bench.data.generate import GeneratorSettings
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.generate_semantic import make_vspw
from videomt_bench.data.layouts import open_dataset
from videomt_bench.data.stuff import STUFF_IDS, THING_IDS
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.semantic import score_vspw

SMALL = GeneratorSettings(3, 18, 24, 32, seed=4)


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vspw")
    make_vspw(root, SMALL)
    make_vspw(root, replace(SMALL, split="val", videos=2))
    return root


def test_the_layout(made: Path) -> None:
    assert (made / "train.txt").read_bytes() == b"train_00001\ntrain_00002\ntrain_00003\n"
    assert (made / "val.txt").read_bytes() == b"val_00001\nval_00002\n"
    folders = {path.name for path in (made / "data").iterdir()}
    assert folders == set((made / "train.txt").read_text().split()) | {"val_00001", "val_00002"}
    seen: set[int] = set()
    for folder in (made / "data").iterdir():
        images = sorted(path.stem for path in (folder / "origin").glob("*.jpg"))
        assert images == sorted(path.stem for path in (folder / "mask").glob("*.png"))
        assert len(images) == 18
        for path in (folder / "mask").iterdir():
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "L", (32, 24))
                values = set(np.unique(np.asarray(image)).tolist())
            assert len({c + 1 for c in STUFF_IDS} & values) >= 2
            seen |= values
    assert seen <= {0, 255} | {c + 1 for c in (*STUFF_IDS, *THING_IDS)}
    assert {0, 255} < seen
    assert {c + 1 for c in THING_IDS} & seen


def test_the_same_scenes_as_in_vipseg(made: Path, tmp_path: Path) -> None:
    make_vipseg(tmp_path, SMALL)
    one = (made / "data" / "train_00002" / "origin" / "00000003.jpg").read_bytes()
    assert (tmp_path / "images" / "train_00002" / "00000003.jpg").read_bytes() == one


def test_same_settings_same_bytes(made: Path, tmp_path: Path) -> None:
    make_vspw(tmp_path, SMALL)
    again, before = contents(tmp_path), contents(made)
    assert again == {key: before[key] for key in again}
    assert len(again) == 3 * 18 * 2 + 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, r"generated_train\.json is other .*seed is 4"),
        ({"videos": 2}, "videos is 3, not 2"),
        ({"split": "test"}, "'test'.*train, val"),
    ],
)
def test_other_data_is_refused(made: Path, change: dict[str, Any], words: str) -> None:
    before = contents(made)
    with pytest.raises(BenchError, match=words):
        make_vspw(made, replace(SMALL, **change))
    assert contents(made) == before


def test_the_same_data_is_left_alone(made: Path) -> None:
    calls: list[int] = []
    assert make_vspw(made, SMALL, lambda done, total: calls.append(done)) == made / "train.txt"
    assert not calls


def test_a_foreign_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\n")
    with pytest.raises(BenchError, match=r"train\.txt is other data"):
        make_vspw(tmp_path, SMALL)
    assert contents(tmp_path) == {"train.txt": b"a\n"}


def test_an_interrupted_make_is_done_again(made: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_vspw(tmp_path, SMALL, interrupt)
    assert not (tmp_path / "train.txt").exists()
    with pytest.raises(BenchError, match="frames is 18, not 6"):
        make_vspw(tmp_path, replace(SMALL, frames=6))
    make_vspw(tmp_path, SMALL)
    again, before = contents(tmp_path), contents(made)
    assert again == {key: before[key] for key in again}


def test_a_clean_set_has_no_problems(made: Path) -> None:
    result = check_dataset("vspw", made, "train", full=True)
    assert result.problems == ()
    assert (result.videos, result.frames, result.annotated) == (3, 54, True)
    assert result.sizes == {"24x32": 3}


def test_the_reader_takes_it(made: Path) -> None:
    index = open_dataset("vspw", made, "val")
    assert [len(video.file_names) for video in index.videos] == [18, 18]


def test_the_truth_scores_one(made: Path, tmp_path: Path) -> None:
    for mask in (made / "data").glob("train_*/mask/*.png"):
        target = tmp_path / mask.parent.parent.name / mask.name
        target.parent.mkdir(exist_ok=True)
        value = np.asarray(Image.open(mask)).astype(int)
        Image.fromarray(np.where(np.isin(value, (0, 255)), 0, value - 1).astype(np.uint8)).save(
            target
        )
    metrics = score_vspw(made, tmp_path, split="train").metrics
    assert metrics["mIoU"] == metrics["pixel_accuracy"] == 1.0
    assert metrics["mVC8"] == metrics["mVC16_clean"] == 1.0
