"""``predict``: a trained model on videos, folders of frames and cameras."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomt_bench.cli.common import (
    DEFAULT_RESULTS,
    AsJson,
    Results,
    Settings,
    emit,
    err,
    fail,
    out,
)
from videomt_bench.cli.frames_bar import frames_bar
from videomt_bench.cli.sweep import experiment_of
from videomt_bench.errors import BenchError, unknown

if TYPE_CHECKING:
    from videomt_bench.predict.predictor import Predictor
    from videomt_bench.predict.source import Source
    from videomt_bench.runs.spec import RunSpec
    from videomt_bench.runs.store import Store

SCORES = ("running", "frame")
CAMERA_HORIZON = 100
"""Frames that count for the scores of a camera, if not told: what comes late is seen soon."""
MODEL, LOOK, FILES = "Which model", "What is shown", "Files"


def predict(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Video files, folders of JPEG or PNG frames, or numbers of cameras.",
        ),
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, help="A camera by its number.")] = None,
    run: Annotated[
        str | None,
        typer.Option(help="A trained run of --results, or its beginning.", rich_help_panel=MODEL),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="Or a run of an experiment, with --variant, --seed, --dataset and --set.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Or a file of weights, with --classes; of ours also --variant and --encoder.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    variant: Annotated[str | None, typer.Option(rich_help_panel=MODEL)] = None,
    seed: Annotated[int, typer.Option(rich_help_panel=MODEL)] = 0,
    dataset: Annotated[str | None, typer.Option(rich_help_panel=MODEL)] = None,
    settings: Settings = None,
    encoder: Annotated[
        str | None, typer.Option(help="timm name of the ViT.", rich_help_panel=MODEL)
    ] = None,
    queries: Annotated[int, typer.Option(rich_help_panel=MODEL)] = 200,
    grid: Annotated[
        int, typer.Option(help="Image size of the position grid.", rich_help_panel=MODEL)
    ] = 640,
    patch: Annotated[int, typer.Option(help="In pixels.", rich_help_panel=MODEL)] = 16,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names of the classes: ytvis_2019, ytvis_2021, ytvis_2022, ovis, vipseg, vspw, or "
            "a file. Of a run: those of its data set.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="instances, panoptic or semantic, instead of that of the classes.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N.", rich_help_panel=MODEL)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16 or bf16.", rich_help_panel=MODEL)
    ] = None,
    short_side: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of a frame at the network, in pixels; 0: as it is. Default: as in evaluation.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(min=1, help="Frames at once; changes no result.", rich_help_panel=MODEL)
    ] = 1,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of the class; 0.5, panoptic: 0.8.", rich_help_panel=LOOK),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tracks per frame at most. Default: as in evaluation.", rich_help_panel=LOOK
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            help="running: the mean of the class logits until now; frame: of this frame alone.",
            rich_help_panel=LOOK,
        ),
    ] = "running",
    horizon: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Frames after which old ones fade from the running mean; 0: never. Default: 0, of "
            f"cameras {CAMERA_HORIZON}.",
            rich_help_panel=LOOK,
        ),
    ] = None,
    target: Annotated[
        Path,
        typer.Option("--out", help="Each source gets a folder in it.", rich_help_panel=FILES),
    ] = Path("runs/predict"),
    video: Annotated[
        bool, typer.Option(help="Overlays as an MP4 file.", rich_help_panel=FILES)
    ] = True,
    png: Annotated[
        bool, typer.Option("--png", help="Overlays as PNG files too.", rich_help_panel=FILES)
    ] = False,
    scale: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=32,
            help="How many times larger overlays are. Default: 1, more for tiny frames.",
            rich_help_panel=FILES,
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many.", rich_help_panel=FILES)
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=1000, help="Frames per second of a folder: 24.", rich_help_panel=FILES
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace earlier predictions.", rich_help_panel=FILES),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Segment and track what a video shows, frame by frame, and draw it."""
    if not sources and camera is None:
        raise BenchError("no source; give a video file, a folder of frames, or --camera 0")
    if score not in SCORES:
        raise unknown("--score", score, SCORES)
    opened = _open(sources or [], camera, rate, target, overwrite)

    from videomt_bench.cost.clock import Setting
    from videomt_bench.predict.outputs import Wanted
    from videomt_bench.predict.predictor import Ranking

    Setting(device or "cpu", precision or "fp32")
    changes = _changes(window, short_side, precision)
    if _one_of({"--run": run, "--experiment": experiment, "--weights": weights}) == "--weights":
        assert weights is not None
        sizes = (queries, grid, patch)
        predictor = _from_weights(weights, variant, encoder, classes, task, sizes, device)
    else:
        predictor = _from_run(
            run, experiment, variant, seed, dataset, settings, results, classes, task, device
        )
    predictor = replace(predictor, settings=replace(predictor.settings, **changes))
    ranking = Ranking(threshold, top_k, _horizon(score, horizon))
    wanted = Wanted(video, png, scale)
    documents = []
    for source in opened:
        of_camera = source.live and score == "running" and horizon is None
        chosen = replace(ranking, horizon=CAMERA_HORIZON) if of_camera else ranking
        document = _predict(replace(predictor, ranking=chosen), source, target, wanted, frames)
        documents.append(document)
        if document["state"] == "stopped":
            break
    emit(documents[0] if len(opened) == 1 else {"videos": documents}, as_json)
    _exit(documents)


def _open(
    names: list[str], camera: int | None, rate: float | None, target: Path, overwrite: bool
) -> list[Source]:
    """All sources, opened; their folders are free."""
    from videomt_bench.predict.outputs import check_folder
    from videomt_bench.predict.source import open_source

    found = [open_source(name, rate) for name in names]
    if camera is not None:
        from videomt_bench.predict.camera import open_camera

        found.append(open_camera(camera))
    opened: dict[str, Source] = {}
    for source in found:
        if source.name in opened:
            raise BenchError(f"two sources are named {source.name!r}; give each its own --out")
        check_folder(target / source.name, overwrite)
        opened[source.name] = source
    return list(opened.values())


def _predict(
    predictor: Predictor, source: Source, target: Path, wanted: Any, frames: int | None
) -> dict[str, Any]:
    from videomt_bench.predict.run import predict as predict_video
    from videomt_bench.predict.stopping import heeding_signals

    folder = target / source.name
    try:
        with heeding_signals() as stop, frames_bar(err, source.name) as report:
            document = predict_video(predictor, source, folder, wanted, frames, report, stop)
    except BenchError as error:
        return {"state": "broken", "reason": str(error), "source": source.name, "frames": 0}
    out.print(
        f"  {document['frames']} frames in {document['seconds']:.1f} s, "
        f"{document['frames_per_second']:.1f} per second",
        highlight=False,
    )
    for name in document["files"]:
        out.print(f"  {folder / name}", soft_wrap=True, highlight=False, markup=False)
    if document["state"] == "stopped":
        sentence = f"stopped after {document['frames']} frames; the files are complete up to there"
        err.print(sentence, soft_wrap=True, highlight=False)
    return document


def _exit(documents: list[dict[str, Any]]) -> None:
    broken = [d for d in documents if d["state"] == "broken"]
    if broken:
        first = broken[0]
        kept = f"; the results of {first['frames']} frames are kept" if first["frames"] else ""
        more = f" (and {len(broken) - 1} more sources)" if len(broken) > 1 else ""
        fail(f"{first['reason']}{kept}{more}")
    if any(d["state"] == "stopped" for d in documents):
        sys.exit(130)


def _one_of(given: dict[str, object]) -> str:
    """The only option that is given."""
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise BenchError(
            f"{' and '.join(chosen) or 'no model'} given; name one model, by --run, by "
            "--experiment and --variant, or by --weights and --classes"
        )
    return chosen[0]


def _needed(option: str, value: str | None, with_: str) -> str:
    if value is None:
        raise BenchError(f"{with_} needs {option} too")
    return value


def _changes(window: int, short_side: int | None, precision: str | None) -> dict[str, Any]:
    """What the options change in how frames enter the model."""
    changes: dict[str, Any] = {"window": window}
    if short_side is not None:
        changes["short_side"] = short_side or None
    if precision is not None:
        changes["precision"] = precision
    return changes


def _horizon(score: str, horizon: int | None) -> int | None:
    if score == "frame":
        if horizon is not None:
            raise BenchError("--horizon is of the running mean; --score frame has none")
        return 1
    return horizon or None


def _from_run(
    run: str | None,
    experiment: str | None,
    variant: str | None,
    seed: int,
    dataset: str | None,
    settings: list[str] | None,
    results: Path,
    classes: str | None,
    task: str | None,
    device: str | None,
) -> Predictor:
    from videomt_bench.predict.predictor import from_run
    from videomt_bench.runs.store import Store

    store = Store(results)
    if experiment is not None:
        name = _needed("--variant", variant, "--experiment")
        spec = _of_experiment(experiment, name, seed, dataset, settings)
    else:
        assert run is not None
        spec = _recorded(run, store)
    return from_run(spec, store, classes, task, device)


def _of_experiment(
    experiment: str, variant: str, seed: int, dataset: str | None, settings: list[str] | None
) -> RunSpec:
    loaded = experiment_of(experiment, str(seed), dataset, settings)
    runs = {spec.variant: spec for spec in reversed(loaded.runs())}
    if variant not in runs:
        raise unknown(f"variant of {loaded.name}", variant, runs)
    return runs[variant]


def _recorded(run: str, store: Store) -> RunSpec:
    """The specification of a run that has a record; its name may be cut short."""
    from videomt_bench.runs.spec import RunSpec

    names = sorted(p.stem for p in (store.root / "records").glob("*.json"))
    found = [name for name in names if name == run] or [n for n in names if n.startswith(run)]
    if not found:
        raise unknown(f"run of {store.root}", run, names)
    if len(found) > 1:
        raise BenchError(f"run {run!r} may be any of {', '.join(found)}; say which")
    record = store.load(found[0])
    assert record is not None
    return RunSpec.from_json(record.spec, f"the specification of {found[0]}")


def _from_weights(
    weights: Path,
    variant: str | None,
    encoder: str | None,
    classes: str | None,
    task: str | None,
    sizes: tuple[int, int, int],
    device: str | None,
) -> Predictor:
    from videomt_bench.evaluation.stream import InferenceSettings
    from videomt_bench.models import EncoderSpec, ModelSpec
    from videomt_bench.predict.classes import named_classes
    from videomt_bench.predict.predictor import from_published, from_weights
    from videomt_bench.sweep.named import dataset_names

    queries, grid, patch = sizes
    named = _needed("--classes", classes, "--weights")
    found = named_classes(named, task)
    if encoder is None:
        dataset = named if named in dataset_names() else None
        return from_published(weights, variant, found, dataset, device or "cpu")
    vit = EncoderSpec(encoder, grid, patch)
    spec = ModelSpec(vit, len(found.categories), queries)
    name = _needed("--variant", variant, "--weights")
    return from_weights(name, spec, weights, found, InferenceSettings(), device or "cpu")
