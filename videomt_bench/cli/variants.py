"""``variants list | show | check``."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.table import Table

from videomt_bench.cli.common import AsJson, emit, out, plain

app = typer.Typer(help="The gallery of variants.", no_args_is_help=True)


@app.command("list")
def variants_list(as_json: AsJson = False) -> None:
    """All variants that can be found, and their three slots."""
    from videomt_bench.models import load_variants

    variants = load_variants()
    table = Table(box=None, header_style="bold")
    for column in ("name", "segmenter", "memory", "tracker", "matching"):
        table.add_column(column, no_wrap=column == "name")
    for variant in variants:
        segmenter, memory, *trackers = variant.slots().values()
        table.add_row(variant.name, segmenter, memory, ", ".join(trackers), variant.matching)
    out.print(table)
    emit(
        [{"name": v.name, "title": v.title, **v.slots(), "matching": v.matching} for v in variants],
        as_json,
    )


@app.command("show")
def variants_show(name: str, as_json: AsJson = False) -> None:
    """One variant: what it is and the file that defines it."""
    from videomt_bench.models import load_variant

    variant = load_variant(name)
    out.print(f"[bold]{variant.name}[/] · {plain(variant.title)}\n{plain(variant.summary)}")
    out.print(f"[dim]{variant.file}[/]", soft_wrap=True)
    file = Path(variant.file)
    if file.is_file():
        print(file.read_text(encoding="utf-8"))
    document = {"name": name, "title": variant.title, "summary": variant.summary}
    emit({**document, **variant.slots(), "file": variant.file}, as_json)


@app.command("check")
def variants_check(name: str, as_json: AsJson = False) -> None:
    """Check that a variant keeps the contract, compiles, is counted and trains at the right rates;
    exit code 1 when it does not."""
    from videomt_bench.models import load_variant
    from videomt_bench.runs.conformance import check_in_full

    checks = check_in_full(load_variant(name))
    for check in checks:
        mark = "[green]ok[/]  " if check.passed else "[red]fail[/]"
        out.print(f"{mark} {check.name}: {plain(check.detail)}", soft_wrap=True)
    emit({"variant": name, "checks": [vars(c) for c in checks]}, as_json)
    if not all(c.passed for c in checks):
        raise typer.Exit(1)
