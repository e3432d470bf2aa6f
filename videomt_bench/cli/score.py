"""``score``: prediction files of any origin against the truth. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from videomt_bench.cli.common import AsJson, emit, err, out

if TYPE_CHECKING:
    from videomt_bench.evaluation.score import YtvisResult

SHOWN_FAULTS = 20
PerClass = Annotated[bool, typer.Option("--per-class", help="Also print a table by class.")]
PerVideo = Annotated[bool, typer.Option("--per-video", help="Also print a table by video.")]
Lenient = Annotated[bool, typer.Option(help="Skip and count bad entries instead of refusing.")]

app = typer.Typer(help="Score prediction files of any origin.", no_args_is_help=True)


Truth = Annotated[Path, typer.Option(help="Annotations, with ground truth.")]
ResultFile = Annotated[Path, typer.Option(help="results.json.")]


@app.command("ytvis")
def score_ytvis(
    truth: Truth,
    predictions: ResultFile,
    short: Annotated[
        Path | None, typer.Option(help="YouTube-VIS 2022: annotations of the short videos.")
    ] = None,
    long: Annotated[
        Path | None, typer.Option(help="YouTube-VIS 2022: annotations of the long videos.")
    ] = None,
    lenient: Lenient = False,
    per_class: PerClass = False,
    per_video: PerVideo = False,
    as_json: AsJson = False,
) -> None:
    """Video AP and AR as YouTube-VIS defines them; with --short and --long those of 2022."""
    from videomt_bench.errors import BenchError
    from videomt_bench.evaluation import score
    from videomt_bench.sweep.watch import View

    if (short is None) != (long is None):
        raise BenchError("--short and --long belong together; give both or neither")
    with View(err).bar("videos") as report:
        if short is None or long is None:
            result = score.score_ytvis(truth, predictions, lenient=lenient, on_progress=report)
        else:
            result = score.score_ytvis_2022(
                truth, short, long, predictions, lenient=lenient, on_progress=report
            )
    _print_tracks(result, lenient, per_class, per_video, as_json)


@app.command("ovis")
def score_ovis(
    truth: Truth,
    predictions: ResultFile,
    lenient: Lenient = False,
    per_class: PerClass = False,
    per_video: PerVideo = False,
    as_json: AsJson = False,
) -> None:
    """Video AP and AR on OVIS, also by occlusion (AP_so, AP_mo, AP_ho) where it is labelled."""
    from videomt_bench.evaluation import score
    from videomt_bench.sweep.watch import View

    with View(err).bar("videos") as report:
        result = score.score_ytvis(truth, predictions, lenient=lenient, on_progress=report)
    _print_tracks(result, lenient, per_class, per_video, as_json)


@app.command("vipseg")
def score_vipseg(
    truth: Annotated[Path, typer.Option(help="Panoptic annotations, JSON.")],
    truth_dir: Annotated[Path, typer.Option(help="Folder of the truth's panoptic PNGs.")],
    predictions: Annotated[Path, typer.Option(help="Folder with pred.json and pan_pred/.")],
    lenient: Lenient = False,
    per_class: PerClass = False,
    per_video: PerVideo = False,
    as_json: AsJson = False,
) -> None:
    """VPQ by window, for all, things and stuff; STQ, AQ and SQ; in fractions."""
    from videomt_bench.evaluation import panoptic
    from videomt_bench.sweep.watch import View

    with View(err).bar("videos") as report:
        result = panoptic.score_vipseg(
            truth, truth_dir, predictions, lenient=lenient, on_progress=report
        )
    if per_class:
        _print_table("class", panoptic.per_class(result.stats))
    if per_video:
        _print_table("video", panoptic.per_video(result.stats))
    _print_metrics(result.metrics, result.skipped, result.faults, lenient, as_json)


@app.command("vspw")
def score_vspw(
    truth: Annotated[Path, typer.Option(help="Root with data/ and the lists of videos.")],
    predictions: Annotated[Path, typer.Option(help="Folder of <video>/<frame>.png.")],
    split: Annotated[str, typer.Option(help="Which list.")] = "val",
    lenient: Lenient = False,
    per_class: PerClass = False,
    per_video: PerVideo = False,
    as_json: AsJson = False,
) -> None:
    """mIoU, pixel and class accuracy, frequency-weighted IoU, mVC8 and mVC16; in fractions."""
    from videomt_bench.evaluation import semantic
    from videomt_bench.sweep.watch import View

    with View(err).bar("videos") as report:
        result = semantic.score_vspw(
            truth, predictions, split=split, lenient=lenient, on_progress=report
        )
    if per_class:
        rows = {str(k): row for k, row in result.per_class().items() if row["n"]}
        _print_table("class", rows)
    if per_video:
        _print_table("video", semantic.per_video(result.stats))
    _print_metrics(result.metrics, result.skipped, result.faults, lenient, as_json)


def _print_tracks(
    result: YtvisResult, lenient: bool, per_class: bool, per_video: bool, as_json: bool
) -> None:
    from videomt_bench.evaluation import video_ap

    values = {name: score.value for name, score in result.metrics.items()}
    for part, stats in result.stats.items():
        names = dict(zip(stats.category_ids.tolist(), stats.category_names, strict=True))
        if per_class:
            rows = video_ap.per_category(stats)
            _print_table("class", {str(names[k]): row for k, row in rows.items()}, part)
        if per_video:
            rows = video_ap.per_video(stats)
            _print_table("video", {str(k): row for k, row in rows.items()}, part)
    _print_metrics(values, result.skipped, result.faults, lenient, as_json)


def _print_table(
    what: str, rows: Mapping[str, Mapping[str, float | None]], title: str | None = None
) -> None:
    table = Table(box=None, title=title, header_style="bold")
    table.add_column(what, overflow="fold")
    for column in next(iter(rows.values()), {}):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *map(_shown, row.values()))
    out.print(table)


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _print_metrics(
    metrics: Mapping[str, float | None],
    skipped: Mapping[str, int],
    faults: Sequence[str],
    lenient: bool,
    as_json: bool,
) -> None:
    table = Table(box=None, show_header=False)
    for name, value in metrics.items():
        table.add_row(name, _shown(value))
    out.print(table)
    for fault in faults[:SHOWN_FAULTS]:
        err.print(f"skipped: {fault}", markup=False, soft_wrap=True)
    if len(faults) > SHOWN_FAULTS:
        err.print(f"skipped: {len(faults) - SHOWN_FAULTS} more")
    counts = {f"skipped_{name}": count for name, count in skipped.items()} if lenient else {}
    emit({**metrics, **counts}, as_json)
