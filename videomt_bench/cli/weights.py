"""``weights inspect | convert | check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomt_bench.cli.common import AsJson, emit, out, plain

if TYPE_CHECKING:
    from videomt_bench.weights import MatchReport, WeightsInfo

SHOWN = 6
"""Names of tensors that are not needed in one line."""

app = typer.Typer(help="Published checkpoints and ours.", no_args_is_help=True)

File = Annotated[
    Path, typer.Argument(help=".pth, .pt, .bin, .ckpt, .safetensors, or a folder of transformers.")
]
VariantOf = Annotated[
    str | None, typer.Option(help="What the weights fill, where the file does not say it.")
]
Base = Annotated[
    str | None,
    typer.Option(
        help="The pre-trained DINOv3 that an official EoMT file on it is to be added to; 'none' if "
        "the file holds whole weights."
    ),
]


@app.command("inspect")
def weights_inspect(
    file: File, variant: VariantOf = None, names: bool = False, as_json: AsJson = False
) -> None:
    """What a file is, and what of it fits; exit code 1 where anything does not.

    No value in the file is looked at. --names lists all tensors that do not fit or are not needed.
    """
    from videomt_bench.weights import describe

    info, report = describe(file, variant)
    _print_info(info)
    if report is not None:
        _print_report(report, names)
    emit({**info.to_json(), "match": report and report.to_json()}, as_json)
    if report is not None and not report.complete:
        raise typer.Exit(1)


@app.command("convert")
def weights_convert(
    file: File,
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="A file, or of transformers a folder.")
    ],
    to: Annotated[
        str, typer.Option(help="ours, official, transformers, or the name of a family.")
    ] = "ours",
    base: Base = None,
    as_json: AsJson = False,
) -> None:
    """Write weights in another layout."""
    from videomt_bench.weights import convert_weights

    done = convert_weights(file, to, target, base)
    written = ", ".join(done.files)
    out.print(f"{done.source.family} → {done.family}: {done.tensors} tensors", soft_wrap=True)
    out.print(f"[dim]{plain(written)}[/]", soft_wrap=True)
    emit(
        {
            "from": done.source.family,
            "to": done.family,
            "tensors": done.tensors,
            "files": list(done.files),
        },
        as_json,
    )


@app.command("check")
def weights_check(
    file: File,
    against: Annotated[Path, typer.Option(help="The other file, in any layout.")],
    variant: VariantOf = None,
    base: Base = None,
    frames: Annotated[int, typer.Option(min=1, help="Of the random clip.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Compare the outputs of two files over a random clip; exit code 1 where they differ.

    Files of transformers run in its model, which must be installed, all others in ours.
    """
    from videomt_bench.weights import check_weights

    found = check_weights(file, against, variant, base, frames)
    mark = "[green]ok[/]" if found.passed else "[red]fail[/]"
    size = "×".join(map(str, found.clip))
    out.print(f"{mark}  {' against '.join(found.models)}, a random clip of {size}", soft_wrap=True)
    out.print(f"largest difference of class logits {found.class_logits:.2g}")
    out.print(f"largest difference of mask logits  {found.mask_logits:.2g}")
    emit(found.to_json(), as_json)
    if not found.passed:
        raise typer.Exit(1)


def _print_info(info: WeightsInfo) -> None:
    fills = info.variant or (info.segmenter_of and f"the segmenter of {info.segmenter_of}")
    rows: dict[str, Any] = {
        "family": f"{info.title} ({info.family})",
        "fills": fills,
        "encoder": info.encoder,
        "positions for": info.image_size and f"{info.image_size} px, patches of {info.patch_size}",
        "classes": info.num_classes,
        "queries": info.num_queries,
        "parts": ", ".join(info.parts),
        "tensors": info.tensors,
        "parameters": f"{info.parameters:,}",
    }
    for name, value in rows.items():
        out.print(f"{name:14}{plain(str(value or '–'))}", soft_wrap=True, highlight=False)
    for note in info.notes:
        out.print(f"note: {plain(note)}", soft_wrap=True, highlight=False)


def _print_report(report: MatchReport, names: bool) -> None:
    mark = "[green]ok[/]  " if report.complete else "[red]fail[/]"
    out.print(f"{mark}          {plain(str(report))}", soft_wrap=True, highlight=False)
    if report.unused:
        more = "" if len(report.unused) <= SHOWN else f", … ({len(report.unused)})"
        listed = ", ".join(report.unused[:SHOWN]) + more
        out.print(f"not needed    {plain(listed)}", soft_wrap=True, highlight=False)
    if not names:
        return
    for title in ("missing", "unexpected", "other_shape", "unused"):
        for name in getattr(report, title):
            out.print(f"  {title}: {plain(name)}", soft_wrap=True, highlight=False)
