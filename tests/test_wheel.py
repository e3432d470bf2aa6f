"""The wheel carries variants, experiments and published numbers, and works from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_it_claims_one_name(unpacked: Path) -> None:
    names = {p.name for p in unpacked.iterdir() if not p.name.endswith(".dist-info")}
    assert names == {"videomt_bench"}
    assert (unpacked / "videomt_bench/py.typed").is_file()


def test_it_works_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "videomt_bench", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(unpacked)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[-1]

    shown = json.loads(run("variants", "show", "step6_videomt", "--json"))
    assert Path(shown["file"]).is_relative_to(unpacked)
    plan = json.loads(run("sweep", "plan", "demo", "--json"))
    variants = {run["run_id"].split("-")[0] for run in plan["runs"]}
    assert {"step4_frame_by_frame", "step6_videomt"} <= variants


def test_experiments_find_the_parts_they_share(unpacked: Path, tmp_path: Path) -> None:
    command = (
        "from videomt_bench.sweep.experiment import experiment_names, load_experiment\n"
        "print(len([load_experiment(name).runs() for name in experiment_names()]))\n"
        "print(load_experiment('vis').one('step6_videomt').recipe.video.train.iterations)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=True,
    )
    count, iterations = map(int, done.stdout.split())
    assert count == len(list((ROOT / "experiments").glob("*.py")))
    assert iterations == 160000
    assert (unpacked / "videomt_bench/_shipped/experiments/_base/ytvis_2019.py").is_file()
