"""One stage of one run: ``train``, ``evaluate`` and ``cost``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from videomt_bench.cli.sweep import experiment_of, state_table

if TYPE_CHECKING:
    from videomt_bench.runs.record import Record
    from videomt_bench.runs.spec import RunSpec


def train(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment, or its file.")],
    variant: Annotated[str, typer.Option(help="Which of its variants.")],
    results: Results = DEFAULT_RESULTS,
    seed: int = 0,
    dataset: Annotated[str | None, typer.Option(help="Default: the first.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train one run of an experiment: its segmenter, if need be, then the video stage."""
    spec = _one_run(experiment, variant, seed, dataset, settings)
    _finish(_execute(spec, results, ("segmenter", "video")), as_json)


def evaluate(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment, or its file.")],
    variant: Annotated[str, typer.Option(help="Which of its variants.")],
    results: Results = DEFAULT_RESULTS,
    seed: int = 0,
    dataset: Annotated[str | None, typer.Option(help="Default: the first.")] = None,
    submission: Annotated[
        Path | None, typer.Option(help="Also write a checked zip for an evaluation server.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Predict the test split with a trained run and score it, if its truth is there."""
    from videomt_bench.runs import stages
    from videomt_bench.runs.store import Store

    spec = _one_run(experiment, variant, seed, dataset, settings)
    record = _execute(spec, results, ("evaluate",))
    if submission is not None and "evaluate" in record.stages:
        stages.submission(spec, Store(results), submission)
        out.print(f"  {submission}", soft_wrap=True, highlight=False)
    _finish(record, as_json)


def cost(
    variant: Annotated[str, typer.Option(help="Name of a variant.")],
    encoder: Annotated[str, typer.Option(help="timm name of a ViT, or vit_tiny_conv_patch8.")],
    input_size: Annotated[str, typer.Option("--input", help="HxW of a frame, after padding.")],
    classes: Annotated[int, typer.Option(help="Classes without no-object.")] = 40,
    queries: Annotated[int, typer.Option(help="Number of queries.")] = 200,
    grid: Annotated[int, typer.Option(help="Image size of the position grid.")] = 640,
    patch: Annotated[int, typer.Option(help="Patch size in pixels.")] = 16,
    device: str = "cpu",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    compile_mode: Annotated[str | None, typer.Option("--compile", help="torch mode.")] = None,
    frames: Annotated[int, typer.Option(help="Timed frames; 0: count only.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Parameters, MACs and FLOPs of a frame, attention counted; with --frames, FPS and memory."""
    from videomt_bench.cost.measure import measure_cost
    from videomt_bench.models import EncoderSpec, ModelSpec, load_variant

    height, width = parse_size(input_size)
    spec = ModelSpec(EncoderSpec(encoder, grid, patch), classes, queries)
    model = load_variant(variant).build(spec).eval()
    values = measure_cost(
        model,
        height,
        width,
        frames=frames,
        device=device,
        precision=precision,
        compile_mode=compile_mode,
        time=frames > 0,
    )
    table = Table(box=None, show_header=False)
    for key in ("params", "gmacs", "gflops", "uncounted", "fps", "peak_memory_mib"):
        table.add_row(key, plain(str(values.get(key))))
    out.print(table)
    emit({"variant": variant, "encoder": encoder, **values}, as_json)


def _one_run(
    experiment: str, variant: str, seed: int, dataset: str | None, settings: list[str] | None
) -> RunSpec:
    from videomt_bench.errors import unknown

    loaded = experiment_of(experiment, str(seed), dataset, settings)
    runs = {spec.variant: spec for spec in reversed(loaded.runs())}
    if variant not in runs:
        raise unknown(f"variant of {loaded.name}", variant, runs)
    return runs[variant]


def _execute(spec: RunSpec, results: Path, names: tuple[str, ...]) -> Record:
    from videomt_bench.runs import stages
    from videomt_bench.runs.execute import execute
    from videomt_bench.runs.store import Store
    from videomt_bench.sweep.watch import View

    stages.check(spec, Store(results))
    with View(err).bar(f"data {spec.dataset.name}") as report:
        stages.prepare_data(spec.dataset, report)
    with View(err).bar(spec.run_id) as report:
        return execute(spec, results, names, report)


def _finish(record: Record, as_json: bool) -> None:
    out.print(state_table([record]))
    emit(record.to_json(), as_json)
    if record.state == "failed":
        fail(record.reason or "the run failed")
    if record.state not in ("completed", "running"):
        raise typer.Exit(1)
