"""``videomt-bench predict``: from the command line to files, and every refusal in one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from conftest import as_arguments, micro_settings
from tiny_videos import pictures, tiny_model, write_folder, write_video

from videomt_bench import cli
from videomt_bench.predict.outputs import Outputs

Run = Callable[..., tuple[int, str, str]]
MODEL = ("--variant", "step6_videomt", "--encoder", "vit_tiny_conv_patch8", "--grid", 48,
         "--patch", 8, "--queries", 6, "--short-side", 0)  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line; returns (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["videomt-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights, classes, a video and a folder of frames; we are in it."""
    monkeypatch.chdir(tmp_path)
    torch.save(tiny_model().state_dict(), "weights.pth")
    Path("classes.txt").write_text("cat\ndog\ncow\nhen\n")
    write_video(Path("clip.mp4"), pictures(5))
    write_folder(Path("frames"), pictures(3))
    return tmp_path


def test_two_sources(run: Run, place: Path) -> None:
    code, out, err = run(
        *("predict", "clip.mp4", "frames", "--weights", "weights.pth", "--classes", "classes.txt"),
        *(*MODEL, "--png", "--json"),
    )
    assert code == 0, err
    clip, frames = json.loads(out.splitlines()[-1])["videos"]
    assert (clip["state"], clip["frames"], frames["frames"]) == ("completed", 5, 3)
    assert clip["files"] == ["frames.jsonl", "results.json", "overlay.mp4", "overlays"]
    for name in ("clip", "frames"):
        assert (place / "runs/predict" / name / "overlay.mp4").stat().st_size > 500
    assert clip["categories"][1] == {"id": 2, "name": "dog", "isthing": 1}
    code, out, err = run(
        *("predict", "frames", "--weights", "weights.pth", "--classes", "classes.txt", *MODEL),
        *("--overwrite", "--frames", 2, "--no-video", "--score", "frame", "--json"),
    )
    again = json.loads(out.splitlines()[-1])
    assert (again["frames"], again["files"]) == (2, ["frames.jsonl", "results.json"])
    assert again["ranking"]["horizon"] == 1


def test_a_trained_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its experiment and by the beginning of its name; both are the run that was trained."""
    monkeypatch.chdir(tmp_path)
    settings = as_arguments(micro_settings(tmp_path))
    chosen = ("--variant", "step6_videomt", "--seed", 1, "--results", "results")
    assert run("train", "demo", *chosen, *settings)[0] == 0
    frames = tmp_path / "data/valid/JPEGImages/00001"
    by_experiment = ("--experiment", "demo", *chosen, *settings)
    by_name = ("--run", "step6", "--results", "results")
    documents = []
    for out_folder, which in (("a", by_experiment), ("b", by_name)):
        code, out, err = run(
            *("predict", frames, *which, "--out", out_folder, "--threshold", 0, "--json")
        )
        assert code == 0, err
        documents.append(json.loads(out.splitlines()[-1]))
        assert [c["name"] for c in documents[-1]["categories"]] == [
            "red",
            "green",
            "blue",
            "yellow",
        ]
    assert documents[0]["model"] == documents[1]["model"]
    texts = [(tmp_path / x / "00001/frames.jsonl").read_text() for x in "ab"]
    assert texts[0] == texts[1]


def test_a_broken_source_keeps_its_results(run: Run, place: Path) -> None:
    (place / "frames/2.png").write_bytes(b"not a picture")
    code, out, err = run(
        *("predict", "frames", "clip.mp4", "--weights", "weights.pth", "--classes", "classes.txt"),
        *(*MODEL, "--json"),
    )
    assert code == 2
    assert "2.png cannot be read" in err
    assert "; the results of 2 frames are kept" in err
    broken, whole = json.loads(out.splitlines()[-1])["videos"]
    assert (broken["state"], whole["state"]) == ("broken", "completed")


def test_ctrl_c(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two sources is not begun; the files of the first are whole."""
    write = Outputs.write

    def interrupted(self: Outputs, *arguments: Any) -> None:
        write(self, *arguments)
        if arguments[0].index == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Outputs, "write", interrupted)
    code, out, err = run(
        *("predict", "clip.mp4", "frames", "--weights", "weights.pth", "--classes", "classes.txt"),
        *(*MODEL, "--json"),
    )
    assert code == 130
    assert "stopped after 2 frames; the files are complete up to there" in err
    (document,) = json.loads(out.splitlines()[-1])["videos"]
    assert document["state"] == "stopped"
    with av.open("runs/predict/clip/overlay.mp4") as container:
        assert container.streams.video[0].frames == 2


REFUSED = [
    ((), "no source; give a video file"),
    (("nothing.mp4",), "there is no source 'nothing.mp4'"),
    (("classes.txt",), "classes.txt cannot be read as a video"),
    (("clip.mp4", "./clip.mp4"), "two sources are named 'clip'"),
    (("clip.mp4", "--score", "mean"), "unknown --score 'mean'; valid: frame, running"),
    (("clip.mp4", "--score", "frame", "--horizon", "5"), "--score frame has none"),
    (("clip.mp4", "--device", "quantum"), "unknown device 'quantum'"),
    (("clip.mp4", "--precision", "fp8"), "unknown precision 'fp8'"),
    (("clip.mp4", "--weights", "nothing.pth"), "cannot read weights from nothing.pth"),
    (("clip.mp4", "--weights", "classes.txt"), "cannot read weights from classes.txt"),
    (("clip.mp4", "--variant", "step6_videomtt"), "did you mean 'step6_videomt'"),
    (("clip.mp4", "--classes", "ytvis2019"), "did you mean 'ytvis_2019'"),
    (("clip.mp4", "--classes", "ovis"), "do not fit the model"),
    (("clip.mp4", "--task", "panoptic"), "needs classes with 'isthing'"),
    (("clip.mp4", "--run", "step6"), "--run and --weights given; name one model"),
    (("clip.mp4", "--out", "classes.txt"), "classes.txt"),
    (("--camera", "987"), "camera 987 cannot be opened"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED, ids=lambda x: " ".join(x)[-30:])
def test_refusals(run: Run, place: Path, arguments: tuple[str, ...], sentence: str) -> None:
    given = list(map(str, arguments))
    for option, value in zip(MODEL[::2], MODEL[1::2], strict=True):
        given += [] if option in given else [str(option), str(value)]
    for option, value in (("--weights", "weights.pth"), ("--classes", "classes.txt")):
        given += [] if option in given else [option, value]
    code, _, err = run("predict", *given)
    (line,) = [x for x in err.splitlines() if x.startswith("error:")]
    assert code == 2
    assert sentence in line
    assert "Traceback" not in err
    assert not (place / "runs").exists()


def test_refusals_of_runs(run: Run, place: Path) -> None:
    (place / "results/records").mkdir(parents=True)
    for arguments, sentence in {
        ("--run", "step9"): "unknown run of results 'step9'",
        ("--experiment", "demo"): "--experiment needs --variant too",
        (): "no model given; name one model, by --run",
        ("--weights", "weights.pth"): "--weights needs --classes too",
    }.items():
        code, _, err = run("predict", "clip.mp4", "--results", "results", *arguments)
        assert (code, sentence in err) == (2, True), err


def test_the_folder_that_is_there(run: Run, place: Path) -> None:
    (place / "runs/predict/clip").mkdir(parents=True)
    (place / "runs/predict/clip/notes").write_text("mine")
    model = ("--weights", "weights.pth", "--classes", "classes.txt", *MODEL)
    for extra, sentence in {(): "is there already", ("--overwrite",): "is not overwritten"}.items():
        code, _, err = run("predict", "clip.mp4", *model, *extra)
        assert (code, sentence in err) == (2, True), err
    assert (place / "runs/predict/clip/notes").read_text() == "mine"


def test_help_loads_neither_torch_nor_ffmpeg() -> None:
    script = (
        "import sys; sys.argv=['videomt-bench','predict','--help']\n"
        "from videomt_bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch','av','cv2','matplotlib','numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_progress_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    from videomt_bench.cli import frames_bar

    clock = iter(np.arange(0, 100, 10.0))
    monkeypatch.setattr(frames_bar.time, "monotonic", lambda: next(clock))
    for total, expected in {
        100: "clip: 40/100 frames, about 30 s left, 2.0 frames/s",
        None: "clip: 40 frames, 2.0 frames/s",
    }.items():
        clock = iter(np.arange(0, 100, 10.0))
        written = StringIO()
        with frames_bar.frames_bar(Console(file=written, width=110), "clip") as report:
            report(20, total)  # after 10 s: too soon
            report(40, total)
        assert written.getvalue().strip() == expected


def test_progress_on_a_terminal() -> None:
    from io import StringIO

    from rich.console import Console

    from videomt_bench.cli.frames_bar import frames_bar

    for total, expected in {3: "3/3", None: "3 frames"}.items():
        written = StringIO()
        console = Console(file=written, width=110, force_terminal=True)
        with frames_bar(console, "clip") as report:
            for done in (1, 2, 3):
                report(done, total)
        assert expected in written.getvalue()
        assert "frames/s" in written.getvalue()
