"""One stage of one run: ``train``, ``evaluate`` and ``cost``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from videomt_bench.cli.common import (
    DEFAULT_RESULTS,
    AsJson,
    Results,
    Settings,
    emit,
    err,
    fail,
    out,
    parse_size,
    plain,
)
from videomt_bench.cli.published import from_segmenter, needed, published, testing, weights_line
from videomt_bench.cli.sweep import experiment_of, state_table

if TYPE_CHECKING:
    from videomt_bench.runs.record import Record
    from videomt_bench.runs.spec import RunSpec


ExperimentName = Annotated[str, typer.Argument(help="Name of an experiment, or its file.")]
VariantName = Annotated[str, typer.Option(help="Which of its variants.")]
DatasetName = Annotated[str | None, typer.Option(help="Which of its data sets; the first.")]
EncoderName = Annotated[
    str | None,
    typer.Option(help="Any encoder, by name; by default the experiment's first."),
]
RecipeName = Annotated[
    str | None, typer.Option(help="A recipe of docs/recipes.md in the place of the experiment's.")
]
PublishedRecipe = Annotated[
    str | None,
    typer.Option(help="A recipe of docs/recipes.md, in the place of the usual one."),
]
SegmenterWeights = Annotated[
    Path | None,
    typer.Option(help="A published segmenter's file, in the place of the segmenter stage."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        help="A part that the segmenter's weights may lack or have otherwise, which starts anew: "
        "class_head, queries, memory, tracker."
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="The folder that has ytvis_2019/, coco/ and so on in it.")
]


def train(
    experiment: ExperimentName,
    variant: VariantName,
    results: Results = DEFAULT_RESULTS,
    seed: int = 0,
    dataset: DatasetName = None,
    encoder: EncoderName = None,
    recipe: RecipeName = None,
    root: DataRoot = None,
    segmenter_weights: SegmenterWeights = None,
    allow: Allow = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train one run of an experiment: its segmenter, if need be, the video stage, the refiner."""
    spec = _one_run(experiment, variant, seed, dataset, encoder, recipe, root, settings)
    if segmenter_weights is not None:
        spec = from_segmenter(spec, segmenter_weights, allow or [])
    _finish(_execute(spec, results, ("segmenter", "video", "refine")), as_json)


def evaluate(
    experiment: Annotated[
        str | None,
        typer.Argument(help="Name of an experiment, or its file. Not needed with --weights."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Which of its variants. A file of weights mostly says it.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A file of published weights (docs/model-zoo.md), in the place of a trained run; "
            "with --dataset, tested as its authors do."
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    seed: int = 0,
    dataset: DatasetName = None,
    encoder: EncoderName = None,
    recipe: PublishedRecipe = None,
    root: DataRoot = None,
    segmenter_weights: SegmenterWeights = None,
    allow: Allow = None,
    submission: Annotated[
        Path | None, typer.Option(help="Also write a checked zip for an evaluation server.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Predict the test split with a trained run, or with published weights, and score it, if its
    truth is there."""
    from videomt_bench.runs import stages
    from videomt_bench.runs.store import Store

    if experiment is not None:
        name = needed("--variant", variant, "an experiment")
        spec = _one_run(experiment, name, seed, dataset, encoder, recipe, root, settings)
        if segmenter_weights is not None:
            spec = from_segmenter(spec, segmenter_weights, allow or [])
        spec = spec if weights is None else testing(spec, weights)
    else:
        spec = published(weights, dataset, variant, encoder, recipe, root, settings)
    record = _execute(spec, results, ("evaluate",))
    if submission is not None and "evaluate" in record.stages:
        stages.submission(spec, Store(results), submission)
        out.print(f"  {submission}", soft_wrap=True, highlight=False)
    _finish(record, as_json)


def cost(
    variant: Annotated[
        list[str], typer.Option(help="Name of a variant; several: again, or with commas.")
    ],
    encoder: Annotated[
        list[str],
        typer.Option(
            help="timm name of a ViT, or vit_tiny_conv_patch8; one for all, or one per variant."
        ),
    ],
    input_size: Annotated[
        str | None, typer.Option("--input", help="HxW of a frame, after padding.")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(help="File of sizes to average over: HxW or 'HxW count' per line."),
    ] = None,
    classes: Annotated[int, typer.Option(help="Classes without no-object.")] = 40,
    queries: Annotated[int, typer.Option(help="Number of queries.")] = 200,
    grid: Annotated[int, typer.Option(help="Image size of the position grid.")] = 640,
    patch: Annotated[int, typer.Option(help="Patch size in pixels.")] = 16,
    device: str = "cpu",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    compile_mode: Annotated[str | None, typer.Option("--compile", help="torch mode.")] = None,
    frames: Annotated[int, typer.Option(help="Timed frames; 0: count only.")] = 0,
    video_frames: Annotated[
        int, typer.Option(help="Frames of the video that an offline model's refiner goes over.")
    ] = 21,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the components as bars: a pdf, svg or png file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Parameters, MACs and FLOPs of a frame, attention counted, and of each component of the model;
    with --frames, FPS and memory."""
    from videomt_bench.cost.inputs import measure_inputs, one_of
    from videomt_bench.models import EncoderSpec, ModelSpec, load_variant

    if figure is not None:
        from videomt_bench.report.figures.style import check_format

        check_format(figure.suffix.lstrip("."))
    sizes = one_of(input_size if input_size is None else parse_size(input_size), inputs)
    options: dict[str, Any] = dict(
        frames=frames,
        device=device,
        precision=precision,
        compile_mode=compile_mode,
        time=frames > 0,
        video_frames=video_frames,
    )
    documents: dict[str, dict[str, Any]] = {}
    titles: dict[str, str] = {}
    for name, vit in _pairs(variant, encoder):
        loaded = load_variant(name)
        model = loaded.build(ModelSpec(EncoderSpec(vit, grid, patch), classes, queries)).eval()
        values = measure_inputs(model, sizes, **options)
        documents[name] = {"variant": name, "encoder": vit, **values}
        titles[name] = loaded.title
        _print_cost(documents[name])
    if figure is not None:
        _draw_cost({titles[name]: values for name, values in documents.items()}, figure)
    single = next(iter(documents.values()))
    emit(single if len(documents) == 1 else {"variants": documents}, as_json)


def _pairs(variants: list[str], encoders: list[str]) -> list[tuple[str, str]]:
    """Each variant with its encoder; several may be given in one word, with commas."""
    from videomt_bench.errors import BenchError

    names, vits = ([x for word in words for x in word.split(",")] for words in (variants, encoders))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BenchError(f"--variant {', '.join(twice)} is given twice; give each variant once")
    if len(vits) not in (1, len(names)):
        raise BenchError(
            f"{len(vits)} encoders do not fit {len(names)} variants; "
            "give --encoder once for all, or once per variant"
        )
    return list(zip(names, vits if len(vits) > 1 else vits * len(names), strict=True))


def _print_cost(values: dict[str, Any]) -> None:
    """The components of a model, and below them what is known of it as a whole."""
    timed = any(c["milliseconds"] for c in values["components"].values())
    table = Table(box=None, title=plain(values["variant"]), title_justify="left")
    table.add_column("component")
    for header in ("parameters", "GMACs", "share", *(["ms"] if timed else [])):
        table.add_column(header, justify="right")
    for name, c in values["components"].items():
        share = f"{c['gmacs'] / values['gmacs']:.1%}" if values["gmacs"] else ""
        row = [plain(name), f"{c['params']:,}", f"{c['gmacs']:.3f}", share]
        table.add_row(*row, *([f"{c['milliseconds']:.2f}"] if timed else []))
    out.print(table)
    summary = Table(box=None, show_header=False)
    for key in ("params", "gmacs", "gflops", "uncounted", "fps", "peak_memory_mib"):
        summary.add_row(key, plain(str(values.get(key))))
    out.print(summary)


def _draw_cost(documents: dict[str, dict[str, Any]], file: Path) -> None:
    from videomt_bench.files import replacing
    from videomt_bench.report.figures.breakdown import breakdown_figure

    content = breakdown_figure(documents, file.suffix.lstrip("."))
    with replacing(file) as opened:
        opened.write(content)
    out.print(f"  {file}", soft_wrap=True, highlight=False)


def _one_run(
    experiment: str,
    variant: str,
    seed: int,
    dataset: str | None,
    encoder: str | None,
    recipe: str | None,
    root: Path | None,
    settings: list[str] | None,
) -> RunSpec:
    placed = [f"data_root={str(root)!r}"] if root is not None else []
    loaded = experiment_of(experiment, str(seed), dataset, [*(settings or []), *placed])
    return loaded.one(variant, encoder, recipe)


def _execute(spec: RunSpec, results: Path, names: tuple[str, ...]) -> Record:
    from videomt_bench.runs import stages
    from videomt_bench.runs.execute import execute
    from videomt_bench.runs.store import Store
    from videomt_bench.sweep.watch import View

    stages.check(spec, Store(results))
    with View(err).bar(f"data {spec.dataset.name}") as report:
        stages.prepare_data(spec.dataset, report, tested_alone=spec.weights is not None)
    with View(err).bar(spec.run_id) as report:
        return execute(spec, results, names, report)


def _finish(record: Record, as_json: bool) -> None:
    out.print(state_table([record]))
    for result in record.stages.values():
        if "weights" in result.detail:
            out.print(f"  {plain(weights_line(result.detail['weights']))}", highlight=False)
    emit(record.to_json(), as_json)
    if record.state == "failed":
        fail(record.reason or "the run failed")
    if record.state not in ("completed", "planned"):
        raise typer.Exit(1)
