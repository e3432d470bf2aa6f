"""The command line: results as the last line, bad input as one sentence and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import as_arguments, micro_settings
from PIL import Image

from videomt_bench import cli

Run = Callable[..., tuple[int, str, str]]


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


def refused(result: tuple[int, str, str]) -> str:
    """The one sentence of a refusal."""
    code, _, err = result
    assert code == 2
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


def test_help_loads_no_torch() -> None:
    script = (
        "import sys; sys.argv=['videomt-bench','--help']\n"
        "from videomt_bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch','timm','pandas','mmengine','scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_score_loads_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys, videomt_bench.evaluation.score\nassert 'torch' not in sys.modules, 'torch'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_cost_prints_the_agreed_keys(run: Run) -> None:
    code, out, _ = run(
        *("cost", "--variant", "step6_videomt", "--encoder", "vit_small_patch14_reg4_dinov2"),
        *("--input", "448x800", "--classes", 40, "--queries", 200, "--json"),
    )
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert document["params"] == 24_087_977
    assert document["gmacs"] == pytest.approx(57.1, rel=0.005)
    assert document["gflops"] == pytest.approx(2 * 57.0, rel=0.005)
    assert document["uncounted"] == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--variant", "step6_videomtt"), "did you mean 'step6_videomt'"),
        (("--encoder", "vit_smal_patch14_reg4_dinov2"), "did you mean 'vit_small_patch14"),
        (("--input", "450x800"), "450x800"),
        (("--input", "448by800"), "'448by800' is not HEIGHTxWIDTH"),
        (("--input", "0x64"), "'0x64' is not HEIGHTxWIDTH"),
        (("--precision", "fp8", "--frames", 2), "'fp8'"),
        (("--device", "quantum", "--frames", 2), "'quantum'"),
        (("--encoder", "resnet50"), "'resnet50' is not a plain ViT"),
        (("--queries", 0), "0 queries"),
        (("--classes", -1), "-1 classes"),
    ],
)
def test_cost_refuses(run: Run, arguments: tuple[object, ...], sentence: str) -> None:
    defaults = {
        "--variant": "step6_videomt",
        "--encoder": "vit_tiny_patch16_224",
        "--input": "64x64",
    }
    given = {**defaults, **dict(zip(arguments[::2], arguments[1::2], strict=True))}
    assert sentence in refused(run("cost", *(x for pair in given.items() for x in pair)))


def test_variants_list_and_show(run: Run) -> None:
    code, out, _ = run("variants", "list", "--json")
    assert code == 0
    names = {v["name"]: v for v in json.loads(out.splitlines()[-1])}
    assert names["step6_videomt"]["memory"] == "QueryFusion"
    assert names["frame_by_frame_matched"]["matching"] == "per_frame"
    code, out, _ = run("variants", "show", "step5_propagation", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["memory"] == "QueryPropagation"


def test_variants_check_finds_a_fault(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(tmp_path))
    (tmp_path / "growing.py").write_text(
        "import torch\n"
        "from videomt_bench.models import EoMT, QueryPropagation, Variant\n"
        "class Growing(QueryPropagation):\n"
        "    def init_state(self, batch): return self.first_queries(batch), ()\n"
        "    def queries(self, state): return state[0]\n"
        "    def update(self, state, output): return output.queries, (*state[1], output.queries)\n"
        "VARIANT = Variant('growing', EoMT.from_spec, Growing)\n"
    )
    code, out, _ = run("variants", "check", "growing", "--json")
    assert code == 1
    failed = [c for c in json.loads(out.splitlines()[-1])["checks"] if not c["passed"]]
    assert [c["name"] for c in failed] == ["state size"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("x = 1\n", "defines no VARIANT"), ("import nowhere_to_be_found\n", "cannot be imported")],
)
def test_a_bad_variant_file_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, sentence: str
) -> None:
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(tmp_path))
    (tmp_path / "mine.py").write_text(content)
    assert sentence in refused(run("variants", "show", "mine"))


def test_data_make_and_score(run: Run, tmp_path: Path) -> None:
    make = ("data", "make", "ytvis", tmp_path, "--videos", 2, "--frames", 3, "--size", "32x48")
    code, out, _ = run(*make, "--seed", 5, "--split", "valid", "--json")
    assert code == 0
    truth = Path(json.loads(out.splitlines()[-1])["annotations"])
    data = json.loads(truth.read_text())
    assert len(data["videos"]) == 2
    with Image.open(tmp_path / "valid/JPEGImages" / data["videos"][0]["file_names"][0]) as frame:
        assert frame.size == (48, 32)
    perfect = [
        {k: a[k] for k in ("video_id", "category_id", "segmentations")} | {"score": 1.0}
        for a in data["annotations"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(perfect))
    code, out, _ = run(
        *("score", "ytvis", "--truth", truth, "--predictions", tmp_path / "results.json", "--json")
    )
    assert code == 0
    assert json.loads(out.splitlines()[-1])["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("data", "make", "coco", "DIR"), "unknown format 'coco'"),
        (("data", "make", "ytvis", "DIR", "--videos", 0), "0"),
        (("data", "make", "ytvis", "DIR", "--size", "4x4"), "height = 4; it must be at least 16"),
        (("data", "make", "ytvis", "DIR", "--scene", "crosing"), "did you mean 'crossing'"),
        (("data", "make", "ytvis", "FILE/sub"), "FILE"),
        (("sweep", "plan", "dmeo"), "did you mean 'demo'"),
        (("sweep", "plan", "nowhere.py"), "'nowhere.py' does not exist"),
        (("sweep", "plan", "demo", "--datasets", "generated-slot"), "did you mean"),
        (("sweep", "plan", "demo", "--seeds", "one"), "'one'"),
        (("sweep", "plan", "demo", "--set", "recipe.vidoe=1"), "did you mean 'video'"),
        (("sweep", "plan", "demo", "--set", "recipe"), "not of the form dotted.key=value"),
        (("train", "demo", "--variant", "step7"), "unknown variant of demo 'step7'"),
        (("sweep", "run", "demo", "--results", "FILE"), "FILE"),
        (("sweep", "run", "demo", "--set", "variants=['none_such']"), "'none_such'"),
        (("score", "ytvis", "--truth", "no.json", "--predictions", "no.json"), "no.json"),
    ],
)
def test_bad_input(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("a file where a folder should be")
    assert sentence in refused(run(*arguments))
    assert [p.name for p in tmp_path.iterdir()] == ["FILE"]


def _damage(data: dict[str, Any], root: Path, kind: str) -> None:
    first = data["annotations"][0]
    if kind == "category":
        first["category_id"] = 77
    elif kind == "size":
        segmentation = next(s for s in first["segmentations"] if s is not None)
        segmentation["size"] = [9, 9]
    elif kind == "empty":
        data["videos"], data["annotations"] = [], []
    elif kind == "image":
        for file in (root / "train/JPEGImages").glob("*/*.jpg"):
            file.write_bytes(b"\xff\xd8 no image")
    elif kind == "missing":
        for file in (root / "train/JPEGImages").glob("*/*.jpg"):
            file.unlink()
    elif kind == "escape":
        data["videos"][0]["file_names"][0] = "../../../etc/passwd"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("category", "77"),
        ("size", "9"),
        ("empty", "no videos"),
        ("image", ".jpg"),
        ("missing", ".jpg"),
        ("escape", "../../../etc/passwd"),
    ],
)
def test_damaged_data_is_one_sentence(run: Run, tmp_path: Path, kind: str, sentence: str) -> None:
    settings = micro_settings(tmp_path)
    root = tmp_path / "data"
    for split in ("train", "valid"):
        code, *_ = run(
            *("data", "make", "ytvis", root, "--videos", 3, "--frames", 4, "--split", split)
        )
        assert code == 0
    file = root / "train.json"
    data = json.loads(file.read_text())
    _damage(data, root, kind)
    file.write_text(json.dumps(data))
    settings["datasets"][0]["generate"] = []
    arguments = ("train", "demo", "--variant", "step6_videomt", "--results", tmp_path / "results")
    assert sentence in refused(run(*arguments, *as_arguments(settings)))
    assert not list(tmp_path.glob("results/work/**/model.pth"))


@pytest.mark.parametrize(
    ("layout", "dataset"), [("ytvis", "generated"), ("vipseg", "vipseg"), ("vspw", "vspw")]
)
def test_data_check_finds_what_is_missing(
    run: Run, tmp_path: Path, layout: str, dataset: str
) -> None:
    code, *_ = run("data", "make", layout, tmp_path, "--videos", 2, "--frames", 3)
    assert code == 0
    code, out, _ = run("data", "check", dataset, tmp_path, "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["problems"] == []
    frame = sorted(tmp_path.rglob("*.jpg"))[1]
    frame.unlink()
    code, out, _ = run("data", "check", dataset, tmp_path, "--json")
    assert code == 1
    problems = json.loads(out.splitlines()[-1])["problems"]
    assert any(frame.stem in problem["sentence"] for problem in problems)


def test_data_split_holds_out_videos(run: Run, tmp_path: Path) -> None:
    run("data", "make", "ytvis", tmp_path, "--videos", 8, "--frames", 2)
    split = ("data", "split", tmp_path / "train.json", "--fraction", 0.25, "--json")
    code, out, _ = run(*split)
    document = json.loads(out.splitlines()[-1])
    assert (code, document["videos"]) == (0, [6, 2])
    parts = [json.loads(Path(document[part]).read_text()) for part in ("kept", "held")]
    ids = [{video["id"] for video in part["videos"]} for part in parts]
    assert ids[0] | ids[1] == set(range(1, 9))
    assert not ids[0] & ids[1]


def test_dense_scores_are_flat_json(run: Run, tmp_path: Path) -> None:
    """The truth as its own prediction, through the command line."""
    run("data", "make", "vspw", tmp_path / "s", "--videos", 2, "--frames", 10, "--split", "val")
    for mask in (tmp_path / "s/data").glob("*/mask/*.png"):
        with Image.open(mask) as image:
            classes = image.point(lambda value: max(value - 1, 0) if value < 255 else 0)
        target = tmp_path / "predictions" / mask.parent.parent.name / mask.name
        target.parent.mkdir(parents=True, exist_ok=True)
        classes.save(target)
    score = ("score", "vspw", "--truth", tmp_path / "s", "--predictions", tmp_path / "predictions")
    code, out, _ = run(*score, "--json")
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert document["mIoU"] == 1.0
    assert {"pixel_accuracy", "class_accuracy", "fwIoU", "mVC8", "mVC16"} <= set(document)
    next((tmp_path / "predictions").rglob("*.png")).unlink()
    assert ".png" in refused(run(*score))
    code, out, _ = run(*score, "--lenient", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["skipped_frames"] == 1


def test_ytvis_2022_and_ovis(run: Run, tmp_path: Path) -> None:
    run("data", "make", "ytvis", tmp_path, "--videos", 4, "--frames", 3, "--split", "valid")
    data = json.loads((tmp_path / "valid.json").read_text())
    perfect = [
        {k: a[k] for k in ("video_id", "category_id", "segmentations")} | {"score": 0.5}
        for a in data["annotations"]
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps([*perfect, {**perfect[0], "video_id": 99}]))
    for name, ids in (("short", {1, 2}), ("long", {3, 4})):
        part = {
            **data,
            "videos": [v for v in data["videos"] if v["id"] in ids],
            "annotations": [a for a in data["annotations"] if a["video_id"] in ids],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    files = ("--truth", tmp_path / "valid.json", "--predictions", results)
    parts = ("--short", tmp_path / "short.json", "--long", tmp_path / "long.json")
    assert "99" in refused(run("score", "ytvis", *files, *parts))
    assert "belong together" in refused(run("score", "ytvis", *files, *parts[:2]))
    code, out, _ = run("score", "ytvis", *files, *parts, "--lenient", "--per-class", "--json")
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert document["mAP"] == document["AP_S"] == document["AP_L"] == pytest.approx(1.0)
    assert document["skipped_entries"] == 1
    code, out, _ = run("score", "ovis", *files, "--lenient", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["AP"] == pytest.approx(1.0)


def test_panoptic_tables_by_class_and_video(run: Run, tmp_path: Path) -> None:
    run("data", "make", "vipseg", tmp_path, "--videos", 2, "--frames", 3, "--split", "val")
    truth = tmp_path / "panoptic_gt_VIPSeg_val.json"
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/pan_pred").symlink_to(tmp_path / "panomasksRGB")
    (tmp_path / "predictions/pred.json").write_text(truth.read_text())
    files = ("--truth", truth, "--truth-dir", tmp_path / "panomasksRGB")
    score = ("score", "vipseg", *files, "--predictions", tmp_path / "predictions")
    code, out, _ = run(*score, "--per-class", "--per-video", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["VPQ1"] == pytest.approx(1.0)
    data = json.loads(truth.read_text())
    lines = [line.split() for line in out.splitlines()[:-1]]
    for video in data["videos"]:
        assert any(line[:1] == [video["video_id"]] for line in lines)
    listed = {s["category_id"] for v in data["annotations"] for f in v["annotations"]
              for s in f["segments_info"] if not s["iscrowd"]}  # fmt: skip
    names = {c["id"]: c["name"] for c in data["categories"]}
    for category in listed:
        (row,) = (line for line in lines if line and " ".join(line[:-2]) == names[category])
        assert float(row[-2]) == pytest.approx(1.0)
