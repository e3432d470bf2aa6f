"""Runs on published weights: a file in the official layout, from the command line to a record.

The files are written here, by the names of the specification, around a ViT-S at its real size.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_data import write_all
from conftest import as_arguments
from typer.testing import CliRunner
from weight_files import TEST, call, save_official, videomt

from videomt_bench.cli import app
from videomt_bench.data.layouts import open_dataset
from videomt_bench.errors import BenchError
from videomt_bench.evaluation import tasks
from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import (
    EncoderSpec,
    ModelSpec,
    TrackSelection,
    load_variant,
)
from videomt_bench.report.tables.table import build_tables
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.runs.weights import weights_file
from videomt_bench.sweep.outline import load_outline
from videomt_bench.weights import convert_weights
from videomt_bench.zoo import evaluation
from videomt_bench.zoo.evaluation import published_run

SMALL = "vit_small_patch14_reg4_dinov2"
CLASSES = dict(ytvis_2019=40, ytvis_2021=40, ytvis_2022=40, ovis=25, vipseg=124, vspw=124)
TINY = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", image_size=64, patch_size=8), 25, 20)
METRIC = {**dict.fromkeys(CLASSES, "AP"), "vipseg": "VPQ", "vspw": "mIoU"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tested``, the data sets without what one learns from, and files of weights."""
    root = tmp_path_factory.mktemp("published")
    write_all(root / "tested")
    shutil.rmtree(root / "tested/coco")
    (root / "tested/ytvis_2019/train.json").unlink()
    for classes in sorted(set(CLASSES.values())):
        save_official(videomt(SMALL, classes), root / f"videomt_{classes}.pth")
    other = videomt(SMALL, 40, seed=1)
    save_official(other, root / "other_40.pth")
    save_official(other, root / "segmenter_40.pth", segmenter=True)
    return root


@pytest.fixture(scope="module")
def tested(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A results folder, and the record of a file on YouTube-VIS 2019 in it."""
    results = tmp_path_factory.mktemp("results")
    return results, evaluate(folder, results, "ytvis_2019")


def evaluate(folder: Path, results: Path, dataset: str, *more: object) -> dict[str, Any]:
    file = folder / f"videomt_{CLASSES[dataset]}.pth"
    place = ("--dataset", dataset, "--root", folder / "tested", "--results", results)
    return call("evaluate", "--weights", file, *place, *more)


@pytest.mark.parametrize("dataset", CLASSES)
def test_from_a_file_to_a_record(
    dataset: str, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """On every benchmark, where nothing but the test split is there."""
    if dataset == "ytvis_2019":
        record = request.getfixturevalue("tested")[1]
    else:
        record = evaluate(folder, tmp_path, dataset)
    file = folder / f"videomt_{CLASSES[dataset]}.pth"
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["state"] == "completed"
    assert list(record["stages"]) == ["evaluate"]
    assert record["metrics"][METRIC[dataset]]["n"] == 2
    assert record["spec"]["weights"] == {
        "file": str(file), "sha256": content, "allow": [], "positions": None,
    }  # fmt: skip
    found = record["stages"]["evaluate"]["detail"]["weights"]
    made_up = {"backbone.attn_mask_probs", "criterion.empty_weight"}
    tensors = torch.load(file, weights_only=True, mmap=True)["model"].keys() - made_up
    assert found == {
        "file": file.name, "sha256": content, "family": "videomt", "matched": len(tensors),
    }  # fmt: skip
    assert content[:8] in record["run_id"]
    assert RunSpec.from_json(record["spec"]).run_id == record["run_id"]


def test_what_is_predicted_is_what_the_weights_predict(
    folder: Path, tested: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    results, record = tested
    written = Store(results).stage(record["run_id"]).path / tasks.RESULT_FILE
    index = open_dataset("ytvis_2019", folder / "tested/ytvis_2019", "valid")
    settings = InferenceSettings(short_side=32)
    own = tasks.predict(videomt(SMALL, 40), index, tmp_path / "own", settings, lambda *_: None)
    (expected,) = own.files
    assert json.loads(written.read_text()) == json.loads(expected.read_text())
    assert json.loads(written.read_text())


def test_what_is_done_is_not_done_again(
    folder: Path, tested: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """And another file does not take its place."""
    results, record = tmp_path / "results", tested[1]
    shutil.copytree(tested[0], results)
    written = Store(results).stage(record["run_id"]).path / tasks.RESULT_FILE
    made = written.stat().st_mtime_ns
    assert evaluate(folder, results, "ytvis_2019") == record
    assert written.stat().st_mtime_ns == made
    other = tmp_path / "videomt_40.pth"
    shutil.copy(folder / "other_40.pth", other)
    place = ("--dataset", "ytvis_2019", "--root", folder / "tested", "--results", results)
    second = call("evaluate", "--weights", other, *place)
    assert second["run_id"] != record["run_id"]
    assert len(list((results / "records").glob("*.json"))) == 2


def test_a_published_file_predicts(folder: Path, tmp_path: Path) -> None:
    """It says its variant, encoder and sizes; the frames get the size of its own protocol."""
    frames = next((folder / "tested/ytvis_2019/valid/JPEGImages").iterdir())
    words = ["predict", str(frames), "--weights", str(folder / "videomt_40.pth"), "--classes"]
    words += ["ytvis_2019", "--frames", "1", "--no-video", "--out", str(tmp_path), "--json"]
    document = call(*words, settings={})
    assert document["model"]["variant"] == "step6_videomt"
    assert document["model"]["encoder"] == SMALL
    assert (document["settings"]["short_side"], document["settings"]["top_k"]) == (448, 10)
    assert document["frames"] == 1
    done = CliRunner().invoke(app, [*words[:4], "--classes", "ovis", "--out", str(tmp_path / "x")])
    assert done.exit_code != 0
    assert "25 classes are named" in str(done.exception)


def test_predictions_are_packed_for_a_server(folder: Path, tmp_path: Path) -> None:
    evaluate(folder, tmp_path, "ytvis_2021", "--submission", tmp_path / "server.zip")
    assert (tmp_path / "server.zip").stat().st_size > 0


@pytest.mark.parametrize(
    ("dataset", "side", "kept", "recipe"),
    [
        ("ytvis_2019", 448, 10, "videomt_june_small"),
        ("ovis", 544, 20, "videomt_june_small"),
        ("vspw", 720, 10, "videomt_june_small"),
    ],
)
def test_a_file_is_tested_as_by_its_authors(
    dataset: str, side: int, kept: int, recipe: str, folder: Path
) -> None:
    file = folder / f"videomt_{CLASSES[dataset]}.pth"
    spec = published_run(file, dataset)
    test = spec.recipe.test
    assert (test.short_side, test.top_k, test.precision) == (side, kept, "fp16")
    assert (test.class_threshold, test.overlap_threshold) == (0.8, 0.8)
    assert spec.recipe.name == recipe
    assert (spec.encoder.name, spec.encoder.image_size) == (SMALL, 640)
    changed = published_run(file, dataset, settings={"recipe.test.top_k": 3})
    assert changed.recipe.test.top_k == 3
    assert changed.run_id != spec.run_id


@pytest.mark.parametrize(
    ("variant", "encoder", "dataset", "side", "kept"),
    [
        ("step6_videomt", "vit_large_patch14_reg4_dinov2", "ytvis_2021", 448, 10),
        ("step6_videomt", "vit_large_patch16_dinov3_qkvb", "ytvis_2019", 480, 10),
        ("step6_videomt", "vit_large_patch16_dinov3_qkvb", "ovis", 544, 20),
        ("cavis_public_code", "vit_large_patch14_dinov2", "ovis", 448, 20),
        ("cavis_offline_public_code", "vit_large_patch14_dinov2", "ovis", 448, 20),
        ("dvis_plus", "vit_large_patch14_dinov2", "ovis", 480, 20),
        ("dvis_daq", "vit_large_patch14_dinov2", "ytvis_2019", 480, 20),
        ("dvis_daq", "vit_large_patch14_dinov2", "ovis", 480, 20),
        ("dvis_daq_offline_conv", "vit_large_patch14_dinov2", "ovis", 480, 20),
        ("dvis_daq_offline_conv", "vit_large_patch14_dinov2", "ytvis_2021", 480, 20),
    ],
)
def test_each_system_has_its_own_protocol(
    variant: str, encoder: str, dataset: str, side: int, kept: int, monkeypatch: pytest.MonkeyPatch,
    folder: Path,
) -> None:  # fmt: skip
    """The sizes of the specification, for files of full size that only say what they are."""
    file = folder / f"videomt_{CLASSES[dataset]}.pth"
    own = evaluation.inspect_weights(file)
    told = replace(own, variant=variant, encoder=encoder)
    monkeypatch.setattr(evaluation, "inspect_weights", lambda path: told)
    spec = published_run(file, dataset)
    recipe = spec.recipe
    assert (recipe.test.short_side, recipe.test.top_k) == (side, kept)
    assert (recipe.selection is not None) == (variant.startswith("dvis_daq") and dataset == "ovis")
    if recipe.selection is not None:
        score = 0.05 if "offline" in variant else 0.1
        assert recipe.selection == TrackSelection(score=score, confirmed=0.01)
        assert spec.model().selection == recipe.selection
        other = published_run(file, dataset, settings={"recipe.selection.score": 0.2})
        assert other.model().selection.score == 0.2


def test_positions_are_resampled_as_by_the_authors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting of the encoder, which can be changed and is in the run id."""
    file = folder / "videomt_40.pth"
    own = evaluation.inspect_weights(file)
    assert published_run(file, "ytvis_2019").encoder.positions == "timm"
    told = replace(own, variant="dvis_plus", encoder="vit_large_patch14_dinov2", positions="dinov2")
    monkeypatch.setattr(evaluation, "inspect_weights", lambda path: told)
    spec = published_run(file, "ytvis_2019")
    assert spec.model().encoder.positions == "dinov2"
    changed = published_run(file, "ytvis_2019", settings={"encoder.positions": "timm"})
    assert changed.model().encoder.positions == "timm"
    assert changed.run_id != spec.run_id
    with pytest.raises(BenchError, match=r"encoder\.positions.*valid: dinov2, timm"):
        published_run(file, "ytvis_2019", settings={"encoder.positions": "bicubic"})


def test_another_recipe_takes_the_place_of_the_own_protocol(folder: Path) -> None:
    file = folder / "videomt_40.pth"
    assert published_run(file, "ytvis_2019", recipe="dvis_daq").recipe.test.short_side == 480


def test_the_content_is_in_the_run_id_and_the_place_is_not(folder: Path, tmp_path: Path) -> None:
    file = folder / "videomt_40.pth"
    spec = published_run(file, "ytvis_2019")
    moved = tmp_path / "renamed.pth"
    shutil.copy(file, moved)
    assert published_run(moved, "ytvis_2019", root=tmp_path).run_id == spec.run_id
    shutil.copy(folder / "other_40.pth", moved)
    other = published_run(moved, "ytvis_2019").run_id
    assert all(
        a != b for a, b in zip(other.split("-")[1:], spec.run_id.split("-")[1:], strict=True)
    )
    trained = replace(spec, weights=None)
    assert trained.run_id not in (spec.run_id, published_run(moved, "ytvis_2019").run_id)


def test_a_file_that_changes_after_the_plan_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    shutil.copy(folder / "videomt_40.pth", file)
    known = weights_file(file)
    shutil.copy(folder / "other_40.pth", file)
    with pytest.raises(BenchError, match="have changed"):
        known.load(load_variant("step6_videomt").build(TINY))


REFUSED: list[tuple[Sequence[str], str]] = [
    (["--weights", "videomt_40.pth", "--dataset", "ovis"], "have 40 classes, but the data set"),
    (["--weights", "videomt_40.pth"], "--weights needs --dataset too"),
    (["--weights", "nothing.pth", "--dataset", "ovis"], "no file of weights"),
    (["--weights", "videomt_40.pth", "--dataset", "ytvis_2020"], "did you mean 'ytvis_20"),
    (["--weights", "segmenter_40.pth", "--dataset", "ytvis_2019"], "--segmenter-weights"),
    (["--weights", "videomt_40.pth", "--dataset", "ytvis_2019", "--encoder", "x"], "says its own"),
    (["--dataset", "ytvis_2019"], "name an experiment and --variant, or --weights"),
    (["vis"], "an experiment needs --variant too"),
    (
        ["--weights", "videomt_40.pth", "--dataset", "ytvis_2019", "--set", "recipe.test.topk=1"],
        "did you mean 'top_k'",
    ),
    (
        ["--weights", "videomt_40.pth", "--dataset", "ytvis_2019", "--variant", "step0_cavi"],
        "did you mean 'step0_cavis'",
    ),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED, ids=lambda x: " ".join(x)[-40:])
def test_refusals_are_one_sentence(
    arguments: Sequence[str], sentence: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(BenchError) as caught:
        app(["evaluate", *arguments], standalone_mode=False)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "runs").exists()


def test_weights_of_another_variant_fail_with_a_record(folder: Path, tmp_path: Path) -> None:
    """Nothing is loaded in part: the record says what is missing."""
    given: list[object] = ["evaluate", "--weights", folder / "videomt_40.pth", "--variant", "gru"]
    given += ["--recipe", "videomt", "--dataset", "ytvis_2019", "--root", folder / "tested"]
    given += ["--results", tmp_path, *as_arguments(TEST)]
    done = CliRunner().invoke(app, [str(word) for word in given])
    assert done.exit_code == 2
    (path,) = (tmp_path / "records").glob("*.json")
    record = json.loads(path.read_text())
    assert record["state"] == "failed"
    assert "do not fit the model" in record["reason"]
    assert "4 missing (memory.gru.input.weight" in record["reason"]


def test_a_report_has_a_row_of_its_own_beside_the_published_number(
    tested: tuple[Path, dict[str, Any]],
) -> None:
    results, record = tested
    tables = build_tables(results, load_outline("scale"))
    rows = [row for table in tables for row in table.rows if row.records]
    (row,) = rows
    assert row.variant == "step6_videomt"
    assert "(published weights videomt_40.pth)" in row.label
    assert row.published["AP"].text == "52.8"
    measured = record["metrics"]["AP"]["value"]
    assert row.estimates["AP"].mean == pytest.approx(100 * measured)


@pytest.mark.parametrize(
    ("variant", "family", "recipe"),
    [
        ("cavis_public_code", "cavis", "cavis"),
        ("cavis_offline_public_code", "cavis_offline", "cavis"),
        ("dvis_plus", "dvis_plus", "dvis_plus"),
        ("dvis_plus_offline", "dvis_plus_offline", "dvis_plus"),
        ("dvis_daq", "dvis_daq", "dvis_daq_480"),
    ],
)
def test_a_decoupled_system_by_the_recipe_that_is_named(
    variant: str, family: str, recipe: str, folder: Path, tmp_path: Path
) -> None:
    """Of an encoder that nobody publishes, so no protocol is known and one has to be named."""
    torch.manual_seed(0)
    model = load_variant(variant).build(TINY)
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    file = tmp_path / "published.pth"
    convert_weights(tmp_path / "ours.pth", family, file)
    with pytest.raises(BenchError, match=r"name a recipe with --recipe"):
        published_run(file, "ovis")
    spec = published_run(file, "ovis", recipe=recipe)
    assert (spec.variant, spec.recipe.num_queries, spec.recipe.refine) == (variant, 20, None)
    place = ("--dataset", "ovis", "--root", folder / "tested", "--results", tmp_path / "results")
    record = call("evaluate", "--weights", file, "--recipe", recipe, *place)
    assert record["state"] == "completed"
    assert record["stages"]["evaluate"]["detail"]["weights"]["family"] == family
    assert record["metrics"]["AP"]["n"] == 2
