"""``docs/model-zoo.md`` from the data: ``python -m videomt_bench.zoo.page > docs/model-zoo.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import TrackSelection
from videomt_bench.models.encoders import is_pyramid
from videomt_bench.runs.config import build, merged
from videomt_bench.sweep.named import dataset_names, named_recipe
from videomt_bench.zoo.checkpoints import Checkpoint, load_checkpoints

FOLDER = "weights"
"""Where the commands of the page expect the files."""
EXPERIMENTS = {"vipseg": "vps", "vspw": "vss"}
"""The experiment with the models of a data set; all others are of ``vis``."""
SMALLER = ("vit_small", "vit_base")
TRACKS = "dvis_daq"
"""Its trackers begin a track where a score is high enough."""
DINOV3 = "dinov3"
QUERIES = "200"
"""Of the experiments."""
INTRODUCTION = """\
# Model zoo

<!-- made from results/published/zoo/checkpoints.csv by `python -m videomt_bench.zoo.page` -->

Every checkpoint that the authors of VidEoMT, EoMT, CAVIS, DVIS++, DVIS-DAQ and MinVIS publish, as
far as their pages show it: what it is, the numbers printed for it, and the command that measures
them here. **No checkpoint has been measured with this project yet**: none of the numbers is ours.

- **Files.** Download them yourself, with their licences, into `weights/`, below the name in the
  column *file*. Where the publisher shows no name, the file is named as its row. `weights inspect
  FILE` tells what a file is; `evaluate` refuses one whose tensors do not all fit.
- **Data** lies below `datasets/` ([reproduce](reproduce.md)).
- **Protocol.** `evaluate --weights` tests a file as its authors do, as in the column *test*: the
  recipe is its public configuration ([recipes](recipes.md)), `--set recipe.test.short_side=…`
  changes the protocol, `--recipe` takes that of another. The number of frames in a window is that
  of the authors' configuration and changes no result here.
- **Truth.** That of the validation videos of YouTube-VIS and OVIS is withheld: `--submission`
  writes the zip for their evaluation servers, and with a file of truth beside the data
  `--set dataset.test_split=…` scores it here. The published numbers of YouTube-VIS 2022 are those
  of its long videos (`--set dataset.test_split=gt_long`).
- **Records.** The run gets a record of its own, with the file's name and SHA-256, and its content
  in the run id. `report vis` (`vps`, `vss`, `scale`, `offline`) shows it as a row of its own,
  marked as published weights, beside the published numbers of the *row*.
- **Segmenters** are trained on: `train --segmenter-weights` puts one in the place of the segmenter
  stage. A class head of another size is refused unless `--allow class_head` says that it starts
  anew.

Expected values are in percent, as printed by the source.
"""
MODEL_HEADER = ("checkpoint", "data", "expected", "row", "configuration", "test", "file", "licence")
SEGMENTER_HEADER = ("checkpoint", "encoder", "data", "expected", "configuration", "file", "licence")
FOREIGN_HEADER = ("checkpoint", "encoder", "data", "expected", "file", "licence", "why not")
ENCODERS = {
    "vit_small_patch14_reg4_dinov2": "ViT-S, DINOv2",
    "vit_base_patch14_reg4_dinov2": "ViT-B, DINOv2",
    "vit_large_patch14_reg4_dinov2": "ViT-L, DINOv2",
    "vit_large_patch14_dinov2": "ViT-L, DINOv2",
    "vit_small_patch16_dinov3_qkvb.lvd1689m": "ViT-S, DINOv3",
    "vit_base_patch16_dinov3_qkvb.lvd1689m": "ViT-B, DINOv3",
    "vit_large_patch16_dinov3_qkvb.lvd1689m": "ViT-L, DINOv3",
    "resnet50.tv_in1k": "ResNet-50",
    "swin_large_patch4_window12_384.ms_in22k": "Swin-L",
}
PARTS = (
    ("Models", lambda c: c.is_built and c.is_video_model),
    ("Segmenters to train on", lambda c: c.is_built and not c.is_video_model),
)


def page(checkpoints: Sequence[Checkpoint] | None = None) -> str:
    """The whole page, in Markdown."""
    found = load_checkpoints() if checkpoints is None else checkpoints
    systems = list(dict.fromkeys(c.system for c in found))
    sections = [_section(name, [c for c in found if c.system == name]) for name in systems]
    return "\n".join([INTRODUCTION, *sections]).rstrip() + "\n"


def commands(checkpoint: Checkpoint) -> list[str]:
    """What evaluates a model, or trains a model from a segmenter.

    A segmenter of images has no data set of its own; YouTube-VIS 2019 stands for all.
    """
    known = checkpoint.dataset in dataset_names()
    dataset = checkpoint.dataset if known else "ytvis_2019"
    place = f"--dataset {dataset} --root datasets"
    file = f"{FOLDER}/{checkpoint.path}"
    if checkpoint.is_video_model:
        zipped = "" if dataset in EXPERIMENTS else f" --submission {checkpoint.name}.zip"
        return [f"videomt-bench evaluate --weights {file} {place}{zipped}"]
    lines = []
    if checkpoint.base:
        base = f"{FOLDER}/{checkpoint.base.rpartition('/')[2]}/model.safetensors"
        whole = f"{FOLDER}/{checkpoint.name}.pth"
        lines = [f"videomt-bench weights convert {file} {whole} --base {base}"]
        file = whole
    options = f"{_options(checkpoint, dataset)} {place} --segmenter-weights {file}"
    anew = "" if known else " --allow class_head"
    return [*lines, f"videomt-bench train {options}{anew}"]


def protocol(checkpoint: Checkpoint) -> str:
    """How a model is tested, in words."""
    if not checkpoint.recipe:
        return ""
    recipe = merged(_recipe_of(checkpoint.recipe, checkpoint.dataset), checkpoint.changes)
    settings = build(InferenceSettings, recipe["test"], checkpoint.name)
    words = [f"short side {settings.short_side}"]
    if checkpoint.dataset not in EXPERIMENTS:
        words.append(f"top {settings.top_k}")
    if checkpoint.dataset == "vipseg":
        classes, overlap = settings.class_threshold, settings.overlap_threshold
        words.append(f"class {classes}, overlap {overlap}, mask {settings.mask_threshold}")
    if checkpoint.variant.startswith(TRACKS):
        online = recipe.get("selection", {})
        rules = recipe.get("offline_selection", online) if checkpoint.is_offline else online
        selection = build(TrackSelection, rules, checkpoint.name)
        words.append(f"tracks above {selection.score}")
    words += [f"window {settings.window}", settings.precision]
    return ", ".join(words)


@cache
def _recipe_of(name: str, dataset: str) -> dict[str, Any]:
    return named_recipe(name, dataset)


def _options(checkpoint: Checkpoint, dataset: str) -> str:
    """Experiment, variant and, where it is not the first of the experiment, encoder."""
    small = checkpoint.encoder.startswith(SMALLER)
    experiment = "scale" if small else EXPERIMENTS.get(dataset, "vis")
    options = f"{experiment} --variant {checkpoint.variant}"
    other = small or DINOV3 in checkpoint.encoder or is_pyramid(checkpoint.encoder)
    options += f" --encoder {checkpoint.encoder}" if other else ""
    fewer = checkpoint.queries not in ("", QUERIES)
    return options + (f" --set recipe.num_queries={checkpoint.queries}" if fewer else "")


def _section(system: str, checkpoints: Sequence[Checkpoint]) -> str:
    lines = [f"## {system}", ""]
    for title, belongs in PARTS:
        if own := [c for c in checkpoints if belongs(c)]:
            lines += [f"### {system}: {title.lower()}", "", *_built(own), ""]
    if foreign := [c for c in checkpoints if not c.is_built]:
        lines += [f"### {system}: not built here", "", *_foreign(foreign), ""]
    return "\n".join(lines)


def _built(checkpoints: Sequence[Checkpoint]) -> Iterator[str]:
    if checkpoints[0].is_video_model:
        yield from _table(MODEL_HEADER, [_model(c) for c in checkpoints])
    else:
        yield from _table(SEGMENTER_HEADER, [_segmenter(c) for c in checkpoints])
    yield ""
    yield "```sh"
    for c in checkpoints:
        yield f"# {c.name}"
        yield from commands(c)
    yield "```"
    sources = dict.fromkeys(c.source for c in checkpoints)
    yield ""
    yield f"Sources: {'; '.join(sources)}."
    remarks: dict[str, list[str]] = {}
    for c in checkpoints:
        if c.remark:
            remarks.setdefault(c.remark, []).append(f"`{c.name}`")
    if remarks:
        yield ""
    for remark, names in remarks.items():
        which = "All" if len(names) == len(checkpoints) else ", ".join(names)
        yield f"- {which}: {remark}."


def _foreign(checkpoints: Sequence[Checkpoint]) -> Iterator[str]:
    rows = [
        [f"`{c.name}`", _words(c), c.dataset, c.expected, *_origin(c), c.remark]
        for c in checkpoints
    ]
    yield from _table(FOREIGN_HEADER, rows)
    yield ""
    yield f"Sources: {'; '.join(dict.fromkeys(c.source for c in checkpoints))}."


def _model(c: Checkpoint) -> list[str]:
    row = f"`{c.table}`: `{c.row}`, {c.setting}" if c.table else _words(c)
    return [f"`{c.name}`", c.dataset, c.expected, row, _recipe(c), protocol(c), *_origin(c)]


def _segmenter(c: Checkpoint) -> list[str]:
    return [f"`{c.name}`", _words(c), c.dataset, c.expected, _recipe(c), *_origin(c)]


def _recipe(c: Checkpoint) -> str:
    return f"`{c.recipe}`" if c.recipe else ""


def _origin(c: Checkpoint) -> list[str]:
    return [_file(c), c.licence]


def _words(c: Checkpoint) -> str:
    return ENCODERS.get(c.encoder, c.encoder)


def _file(c: Checkpoint) -> str:
    link = f"[{c.file or 'no name shown'}]({c.publisher})"
    return f"{link}, SHA-256 `{c.sha256[:12]}…`" if c.sha256 else link


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    print(page(), end="")
