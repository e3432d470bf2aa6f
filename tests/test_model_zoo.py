"""The page of the model zoo is made from the data, the data agrees with what is printed elsewhere,
and every command of the page is one of the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from weights import published
from weights.shapes import Shapes

from videomt_bench.cli import app
from videomt_bench.models import variant_names
from videomt_bench.report.published import load_published, published_cells
from videomt_bench.sweep.experiment import Experiment, load_experiment, parse_overrides
from videomt_bench.sweep.named import dataset_names, recipe_names
from videomt_bench.weights import identify
from videomt_bench.zoo import checkpoints
from videomt_bench.zoo.checkpoints import STAGES, Checkpoint, checkpoint_of, load_checkpoints
from videomt_bench.zoo.page import commands, page, protocol

PAGE = Path(__file__).parents[1] / "docs" / "model-zoo.md"
ZOO = {c.name: c for c in load_checkpoints()}
DISAGREE = {("dvis_daq_large_ovis", "AP"), ("dvis_daq_large_ovis", "AP75"),
            ("videomt_large_dinov3_vipseg", "STQ"), ("minvis_swin_large_ytvis_2019", "AP"),
            ("minvis_swin_large_ytvis_2021", "AP"), ("minvis_swin_large_ovis", "AP")}  # fmt: skip
"""Values that the zoo of a system and the paper print differently; each has a remark."""


def test_the_page_is_made_from_the_data() -> None:
    """``python -m videomt_bench.zoo.page > docs/model-zoo.md`` after a change."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_names_are_unique_and_known() -> None:
    assert len(ZOO) == len(load_checkpoints()) > 100
    for c in ZOO.values():
        assert c.stage in STAGES
        assert c.layout in ("official", "transformers")
        assert c.variant in {"", *variant_names()}
        assert c.publisher.startswith("https://")
        assert not c.sha256 or re.fullmatch("[0-9a-f]{64}", c.sha256)
        assert c.remark or c.is_built, "a checkpoint that is not built says why"
        if c.is_built and c.is_video_model:
            assert c.dataset in dataset_names()
            assert c.recipe in recipe_names()
            assert c.metrics or "without numbers" in c.source


@pytest.mark.parametrize("system", sorted({c.system for c in ZOO.values()}))
def test_every_system_is_there(system: str) -> None:
    """How many files its pages list, counted by hand; three are tested on two data sets."""
    count = {"VidEoMT": 29, "EoMT": 26, "CAVIS": 28, "DVIS++": 39, "DVIS-DAQ": 16, "MinVIS": 15}
    assert sum(c.system == system for c in ZOO.values()) == count[system]


PRINTED = [c for c in ZOO.values() if c.table]


@pytest.mark.parametrize("checkpoint", PRINTED, ids=lambda c: c.name)
def test_expected_metrics_are_those_of_its_row(checkpoint: Checkpoint) -> None:
    """The published tables were written from the papers, the zoo from the pages of the systems."""
    table = load_published(checkpoint.table)
    cells = published_cells(table, checkpoint.row, checkpoint.setting)
    common = [m for m in checkpoint.metrics if m in cells]
    assert common
    for metric in common:
        if (checkpoint.name, metric) in DISAGREE:
            assert cells[metric].text != checkpoint.metrics[metric]
            assert cells[metric].text in checkpoint.remark or metric == "AP75"
        else:
            assert cells[metric].text == checkpoint.metrics[metric], metric


def test_numbers_of_the_zoos_spelled_out_again() -> None:
    """From the model zoos of DVIS++ and DVIS-DAQ: AP, AP50 and AP75, or what the task has."""
    expected = {
        "dvis_plus_large_ytvis_2019": "67.7/88.8/75.3",
        "dvis_plus_large_offline_ytvis_2019": "68.3/90.3/76.1",
        "dvis_plus_large_offline_ytvis_2021": "63.9/86.7/71.5",
        "dvis_plus_large_offline_ovis": "53.4/78.9/58.5",
        "dvis_plus_large_offline_vipseg": "58.0/61.2/55.2",
        "dvis_plus_large_vspw": "95.0/94.2/62.8",
        "dvis_plus_large_offline_vspw": "95.7/95.1/63.8",
        "dvis_plus_r50_ovis": "37.2/62.8/37.3",
        "dvis_plus_r50_offline_vspw": "93.4/92.4/48.6",
        "dvis_daq_large_ovis": "53.7/78.7/58.2",
        "dvis_daq_large_vipseg": "57.4/60.4/54.7",
        "dvis_daq_large_offline_ytvis_2019": "69.2/90.8/76.8",
        "dvis_daq_large_offline_ovis": "57.1/83.8/62.9",
        "dvis_daq_swin_l_ytvis_2021": "61.1/84.2/68.2",
        "minvis_swin_large_ovis": "41.7",
        "minvis_swin_large_r1_ytvis_2019": "58.9",
    }
    assert {n: "/".join(ZOO[n].metrics.values()) for n in expected} == expected


def test_protocols_spelled_out_again() -> None:
    """From the specifications of the systems: short side, instances kept, thresholds."""
    expected = {
        "videomt_large_ytvis_2019": "short side 448, top 10, window 1, fp16",
        "videomt_large_ovis": "short side 544, top 20, window 1, fp16",
        "videomt_large_dinov3_ytvis_2021": "short side 480, top 10, window 1, fp16",
        "videomt_large_vipseg": "short side 720, class 0.8, overlap 0.8, mask 0.5, window 1, fp16",
        "videomt_large_vspw": "short side 720, window 1, fp16",
        "cavis_large_ovis": "short side 448, top 20, window 3, fp16",
        "cavis_large_offline_vipseg": (
            "short side 720, class 0.8, overlap 0.8, mask 0.5, window 3, fp16"
        ),
        "dvis_plus_large_ytvis_2022": "short side 480, top 10, window 3, fp16",
        "dvis_plus_large_ovis": "short side 480, top 20, window 3, fp16",
        "dvis_daq_large_ytvis_2019": "short side 480, top 20, tracks above 0.01, window 5, fp16",
        "dvis_daq_large_ovis": "short side 480, top 20, tracks above 0.1, window 5, fp16",
        "dvis_daq_large_offline_ovis": "short side 480, top 20, tracks above 0.05, window 5, fp16",
        "dvis_daq_swin_l_ovis": "short side 480, top 20, tracks above 0.1, window 3, fp16",
        "dvis_daq_r50_offline_ovis": "short side 480, top 20, tracks above 0.05, window 3, fp16",
        "dvis_plus_r50_offline_ovis": "short side 480, top 20, window 3, fp16",
        "dvis_plus_r50_vspw": "short side 720, window 3, fp16",
        "cavis_r50_ovis": "short side 448, top 20, window 3, fp16",
        "cavis_swin_l_ytvis_2021": "short side 448, top 10, window 3, fp16",
        "dvis_daq_r50_ytvis_2021": "short side 480, top 20, tracks above 0.01, window 3, fp16",
        "minvis_r50_ovis": "short side 360, top 10, window 30, fp16",
        "minvis_swin_large_ovis": "short side 480, top 10, window 30, fp16",
        "minvis_swin_large_ytvis_2021": "short side 360, top 10, window 30, fp16",
    }
    assert {name: protocol(ZOO[name]) for name in expected} == expected


def page_commands() -> Iterator[Any]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        name = ""
        for line in block.splitlines():
            if line.startswith("# "):
                name = line.removeprefix("# ")
            else:
                yield pytest.param(ZOO[name], line, id=f"{name}: {line.split()[1]}")


def test_every_built_checkpoint_has_its_commands() -> None:
    given = [parameters.values[1] for parameters in page_commands()]
    assert given == [line for c in in_order() if c.is_built for line in commands(c)]


def in_order() -> list[Checkpoint]:
    """By system, models before segmenters, as on the page."""
    systems = list(dict.fromkeys(c.system for c in ZOO.values()))
    return sorted(ZOO.values(), key=lambda c: (systems.index(c.system), not c.is_video_model))


@pytest.mark.parametrize(("checkpoint", "line"), page_commands())
def test_a_command_of_the_page_is_one_of_the_command_line(
    checkpoint: Checkpoint, line: str
) -> None:
    """Parsed by the command line itself; what it names is there, but for the files."""
    program, name, *words = shlex.split(line)
    assert program == "videomt-bench"
    command: Any = typer.main.get_command(app)
    command = command.commands[name]
    if hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    values = command.make_context(name, words).params
    if name == "weights":
        assert checkpoint.base
        return
    assert values["dataset"] in dataset_names()
    if name == "evaluate":
        assert values["experiment"] is None
        assert str(values["weights"]).endswith(checkpoint.path)
        return
    if checkpoint.variant in variant_names():
        loaded = experiment(values["experiment"], *(values["settings"] or ()))
        run = loaded.select(datasets=(values["dataset"],)).one(
            checkpoint.variant, values["encoder"]
        )
        assert run.encoder.name == checkpoint.encoder
        assert checkpoint.queries in ("", str(run.recipe.num_queries))


@cache
def experiment(name: str, *settings: str) -> Experiment:
    return load_experiment(name, parse_overrides(settings))


def test_an_unknown_option_would_be_seen() -> None:
    command: Any = typer.main.get_command(app)
    with pytest.raises(Exception, match="No such option: --weigths"):
        command.commands["evaluate"].make_context("evaluate", ["--weigths", "x"])


def test_the_protocol_of_a_file_is_that_of_the_nearest_checkpoint() -> None:
    large, plain = "vit_large_patch14_reg4_dinov2", "vit_large_patch14_dinov2"

    def named(*arguments: str) -> str | None:
        found = checkpoint_of(*arguments)
        return found and found.name

    assert named("step6_videomt", large, "ovis") == "videomt_large_ovis"
    assert named("step6_videomt", f"{large}.lvd142m", "vspw") == "videomt_large_vspw"
    small = "vit_small_patch14_reg4_dinov2"
    assert named("step6_videomt", small, "ovis", "", "x.pth") == "videomt_small_ytvis_2019"
    ported = "videomt_small_ytvis_2019_transformers"
    assert named("step6_videomt", small, "ytvis_2019", "", "model.safetensors") == ported
    assert named("cavis_public_code", plain, "ytvis_2022") == "cavis_large_ytvis_2022"
    known = ZOO["dvis_daq_large_ytvis_2021"].sha256
    assert named("dvis_daq", plain, "ytvis_2019", known) == "dvis_daq_large_ytvis_2019"
    assert named("step6_videomt", plain, "ovis") is None
    assert named("minvis", large, "ovis") is None
    dinov3 = "vit_large_patch16_dinov3_qkvb"
    assert named("step6_videomt", dinov3, "ovis") == "videomt_large_dinov3_ytvis_2019"
    assert named("step6_videomt_normalized", dinov3, "vspw") == "videomt_large_dinov3_vspw"


CLASSES = {"ovis": 25, "vipseg": 124, "vspw": 124}
PYRAMIDS = {
    "resnet50.tv_in1k": "r50",
    "swin_large_patch4_window12_384.ms_in22k": "swin_l",
}
SIZES = {"vit_small": (384, 12, 3), "vit_base": (768, 12, 3), "vit_large": (1024, 24, 4)}


def shapes_of(c: Checkpoint) -> Shapes:
    """The names and shapes in the file of a model, as its authors write them."""
    classes = CLASSES.get(c.dataset, 40)
    if c.system == "VidEoMT":
        dim, depth, joint = SIZES[c.encoder.partition("_patch")[0]]
        if "dinov3" in c.encoder:
            return published.videomt_dinov3(dim, depth, joint, classes=classes)
        if c.layout == "transformers":
            return published.port(dim, depth, joint)
        return published.videomt(dim, depth, joint, classes=classes)
    of: dict[tuple[str, str], Callable[..., Shapes]] = {
        ("MinVIS", "online"): published.mask2former,
        ("CAVIS", "online"): published.cavis,
        ("CAVIS", "offline"): published.cavis_offline,
        ("DVIS++", "online"): published.dvis_plus,
        ("DVIS++", "offline"): published.dvis_plus_offline,
        ("DVIS-DAQ", "online"): published.daq,
        ("DVIS-DAQ", "offline"): published.daq_offline_conv,
    }
    shapes = of[c.system, c.stage](classes=classes, queries=int(c.queries))
    if c.variant == "dvis_daq_offline":
        shapes = published.daq_offline(classes=classes, queries=int(c.queries))
    return published.on(PYRAMIDS[c.encoder], shapes) if c.encoder in PYRAMIDS else shapes


MODELS = [c for c in ZOO.values() if c.is_built and c.is_video_model]


@pytest.mark.parametrize("checkpoint", MODELS, ids=lambda c: c.name)
def test_a_file_of_full_size_is_taken_for_what_the_zoo_says(checkpoint: Checkpoint) -> None:
    """Variant and encoder are told by names and shapes alone, and lead to its own recipe."""
    shapes = shapes_of(checkpoint)
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    info = identify(state, checkpoint.file).info
    assert info.variant == checkpoint.variant
    assert info.encoder is not None
    assert info.encoder.partition(".")[0] == checkpoint.encoder.partition(".")[0]
    assert str(info.num_queries) == checkpoint.queries
    found = checkpoint_of(info.variant, info.encoder, checkpoint.dataset)
    assert found is not None
    assert (found.recipe, found.dataset) == (checkpoint.recipe, checkpoint.dataset)


def test_a_damaged_file_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo").mkdir()
    for content in ("name,system\nx,y\n", ""):
        (tmp_path / checkpoints.FILE).write_text(content)
        monkeypatch.setattr(checkpoints, "shipped", lambda folder: tmp_path)
        load_checkpoints.cache_clear()
        with pytest.raises(checkpoints.BenchError, match=r"checkpoints\.csv: its columns are"):
            load_checkpoints()
    monkeypatch.undo()
    load_checkpoints.cache_clear()


def test_no_file_is_the_same_as_another() -> None:
    """A file that stands in two lines is one on two data sets."""
    by_file: dict[tuple[str, str], set[str]] = {}
    for c in ZOO.values():
        if c.file:
            by_file.setdefault((c.publisher, c.file), set()).add(c.dataset)
    shared = {file for (_, file), data in by_file.items() if len(data) > 1}
    assert shared == {
        "DVIS++/weights/online_vitl_ytvis21_623.pth",
        "model_ytvis21_online_vitl.pth",
    }
