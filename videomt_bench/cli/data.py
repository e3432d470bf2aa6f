"""``data make | check | split``. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from videomt_bench.cli.common import AsJson, emit, err, out, parse_size
from videomt_bench.errors import unknown

app = typer.Typer(help="Data sets: generate, check and split them.", no_args_is_help=True)


@app.command("make")
def data_make(
    layout: Annotated[str, typer.Argument(metavar="FORMAT", help="ytvis, vipseg or vspw.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    videos: Annotated[int, typer.Option(help="How many videos.")] = 100,
    frames: Annotated[int, typer.Option(help="Frames per video.")] = 24,
    size: Annotated[str, typer.Option(help="HxW in pixels.")] = "48x48",
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    split: Annotated[str, typer.Option(help="train, or valid (ytvis) or val.")] = "train",
    scene: Annotated[str, typer.Option(help="slots or crossing.")] = "slots",
    as_json: AsJson = False,
) -> None:
    """Generate video with annotations, as real files in the layout of a benchmark."""
    from videomt_bench.data.generate import GeneratorSettings
    from videomt_bench.sweep.watch import View

    make = _maker(layout)
    height, width = parse_size(size)
    settings = GeneratorSettings(videos, frames, height, width, seed, split, scene)
    with View(err).bar(f"videos to {folder}") as report:
        file = make(folder, settings, report)
    out.print(f"{videos} videos of {frames} frames, {height}x{width}: {file}", soft_wrap=True)
    emit({"annotations": str(file), "videos": videos, "frames": frames}, as_json)


def _maker(layout: str) -> Callable[..., Path]:
    from videomt_bench.data.generate import make_ytvis
    from videomt_bench.data.generate_panoptic import make_vipseg
    from videomt_bench.data.generate_semantic import make_vspw

    makers: dict[str, Callable[..., Path]] = {
        "ytvis": make_ytvis,
        "vipseg": make_vipseg,
        "vspw": make_vspw,
    }
    if layout not in makers:
        raise unknown("format", layout, makers)
    return makers[layout]


@app.command("check")
def data_check(
    dataset: Annotated[str, typer.Argument(help="ytvis_2019, ovis, vipseg, vspw, generated, …")],
    root: Annotated[Path, typer.Argument(help="The data set's folder.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "train",
    full: Annotated[bool, typer.Option(help="Decode every image and mask.")] = False,
    workers: Annotated[int, typer.Option(help="Threads; 0: as many as fit.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say whether a folder is complete and usable; exit code 1, with the list, when it is not."""
    from videomt_bench.data.check import check_dataset
    from videomt_bench.sweep.watch import View

    with View(err).bar("checked") as report:
        result = check_dataset(dataset, root, split, full=full, workers=workers, on_progress=report)
    document: dict[str, Any] = result.to_json()
    table = Table(box=None, show_header=False)
    for key in ("videos", "frames", "objects", "categories", "sizes", "annotated"):
        table.add_row(key, _shown(document[key]))
    table.add_row("problems", str(len(result.problems)))
    out.print(table)
    for line in result.lines():
        out.print(line, markup=False, soft_wrap=True, highlight=False)
    emit(document, as_json)
    if not result.ok:
        raise typer.Exit(1)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{size} ({n})" for size, n in list(value.items())[:5]) or "–"
    return "–" if value is None else str(value)


@app.command("split")
def data_split(
    annotations: Annotated[Path, typer.Argument(metavar="JSON", help="YT-VIS or OVIS layout.")],
    fraction: Annotated[float, typer.Option(help="Share of the videos to hold out.")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed holds out the same videos.")] = 0,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder of both parts; default: beside.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold out videos of a training set whose validation truth is withheld."""
    from videomt_bench.data.split import split_dataset

    result = split_dataset(annotations, to or annotations.parent, fraction=fraction, seed=seed)
    names = ("kept", "held")
    for name, videos, count in zip(names, result.videos, result.annotations, strict=True):
        out.print(f"{name}: {videos} videos, {count} objects", highlight=False)
    for sentence in result.one_sided:
        out.print(sentence, markup=False, soft_wrap=True, highlight=False)
    emit(
        {
            "kept": str(result.kept),
            "held": str(result.held),
            "videos": result.videos,
            "annotations": result.annotations,
        },
        as_json,
    )
