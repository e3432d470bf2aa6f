"""``weights inspect | convert | check`` as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from weights import published

from videomt_bench import cli
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant

SMALL = dict(dim=384, depth=12, joint=3, grid=6, classes=7, queries=9)


@dataclass(frozen=True)
class Done:
    """What a call ended with."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["videomt-bench", "weights", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return call


def document(done: Done) -> Any:
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    state = {k: 0.05 * torch.randn(v) for k, v in published.videomt(**SMALL).items()}
    file = tmp_path_factory.mktemp("weights") / "videomt_small.pth"
    torch.save({"model": state, "iteration": 3}, file)
    return file


def test_help_answers_without_torch() -> None:
    code = (
        "import sys; from videomt_bench.cli import app\n"
        "try: app(['weights', 'inspect', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_inspect(run: Run, official: Path) -> None:
    done = run("inspect", official, "--json")
    assert done.returncode == 0, done.stderr
    for words in (
        "VidEoMT, official (videomt)",
        "step6_videomt",
        "vit_small_patch14_reg4_dinov2",
        "96 px, patches of 16",
        "196 of 196 tensors match",
        "backbone.attn_mask_probs, criterion.empty_weight",
    ):
        assert words in done.stdout
    found = document(done)
    assert (found["family"], found["variant"]) == ("videomt", "step6_videomt")
    assert (found["num_classes"], found["num_queries"], found["tensors"]) == (7, 9, 198)
    assert len(found["match"]["matched"]) == 196
    assert found["match"]["missing"] == found["match"]["unexpected"] == []


def test_inspect_of_what_fits_in_part(run: Run, official: Path, tmp_path: Path) -> None:
    """Code 1, and every name on demand."""
    loaded = torch.load(official, weights_only=True)
    del loaded["model"]["backbone.query_updater.bias"]
    loaded["model"]["backbone.surplus"] = torch.ones(2)
    torch.save(loaded, tmp_path / "part.pth")
    done = run("inspect", tmp_path / "part.pth", "--names")
    assert done.returncode == 1
    assert "195 of 196 tensors match" in done.stdout
    assert "missing: memory.fuse.bias" in done.stdout
    assert "unexpected: backbone.surplus" in done.stdout


def test_inspect_of_ours_names_the_variants_that_fit(run: Run, tmp_path: Path) -> None:
    spec = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 64, 8), 3, 5)
    torch.save(load_variant("step6_videomt").build(spec).state_dict(), tmp_path / "ours.pth")
    found = document(run("inspect", tmp_path / "ours.pth", "--json"))
    assert found["family"] == "ours"
    assert found["variant"] is None
    (note,) = found["notes"]
    assert "step6_videomt, step6_videomt_normalized" in note
    done = run("inspect", tmp_path / "ours.pth", "--variant", "step0_cavis")
    assert done.returncode == 1
    assert "missing" in done.stdout


def test_inspect_and_convert_a_model_on_resnet(run: Run, tmp_path: Path) -> None:
    """Its encoder is named; what it is of another size is one sentence."""
    shapes = published.on("r50", published.ctvis(queries=100))
    file = tmp_path / "r50.pth"
    torch.save({"model": {k: torch.zeros(v) for k, v in shapes.items()}}, file)
    done = run("inspect", file, "--json")
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert (found["family"], found["encoder"]) == ("dvis_plus_segmenter", "resnet50")
    assert found["num_queries"] == 100
    assert (found["match"]["missing"], found["match"]["unexpected"]) == ([], [])
    done = run("convert", file, tmp_path / "ours.pth")
    assert done.returncode == 0, done.stderr
    done = run("convert", tmp_path / "ours.pth", tmp_path / "x.pth", "--to", "dvis_plus_segmenter")
    assert done.returncode == 0, done.stderr
    written = torch.load(tmp_path / "x.pth", weights_only=True)["model"]
    assert {k: tuple(v.shape) for k, v in written.items()} == shapes

    gone = {k: v for k, v in shapes.items() if not k.startswith("backbone.res4.5.")}
    torch.save({"model": {k: torch.zeros(v) for k, v in gone.items()}}, file)
    refused = run("inspect", file)
    assert refused.returncode == 2
    assert "no ResNet of (3, 4, 5, 3) bottleneck blocks is known" in refused.stderr


def test_convert_and_check(run: Run, official: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = tmp_path / "port"
    done = run("convert", official, folder, "--to", "transformers", "--json")
    assert done.returncode == 0, done.stderr
    assert document(done) == {
        "from": "videomt",
        "to": "transformers_videomt",
        "tensors": 247,
        "files": [str(folder / "model.safetensors"), str(folder / "config.json")],
    }
    checked = run("check", official, "--against", folder, "--json", "--frames", 3)
    assert checked.returncode == 0, checked.stderr
    found = document(checked)
    assert found["passed"]
    assert found["clip"] == [1, 3, 3, 96, 96]
    assert max(found["class_logits"], found["mask_logits"]) <= found["tolerance"] == 1e-4
    loaded = torch.load(official, weights_only=True)
    loaded["model"]["backbone.class_head.bias"] += 0.01
    torch.save(loaded, tmp_path / "other.pth")
    differ = run("check", tmp_path / "other.pth", "--against", folder, "--json")
    assert differ.returncode == 1
    assert document(differ)["class_logits"] == pytest.approx(0.01, abs=1e-4)
    assert not document(differ)["passed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inspect", "absent.pth"), "there is no file of weights 'absent.pth'"),
        (("inspect", "x.pkl"), "which can run code when it is read"),
        (("convert", "OFFICIAL", "x.pth", "--to", "nowhere"), "unknown target 'nowhere'"),
        (("convert", "OFFICIAL", "x.pth", "--base", "y.pth"), "are no differences"),
        (("check", "OFFICIAL", "--against", "absent.pth"), "there is no file of weights"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Run,
    arguments: tuple[str, ...],
    words: str,
    official: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.pkl").write_bytes(b"\x80\x04.")
    done = run(*(official if a == "OFFICIAL" else a for a in arguments))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert words in " ".join(done.stderr.split())
    assert done.stdout == ""
