"""The command line: arguments in, calls, tables out. Progress goes to stderr, results to stdout.

Heavy imports happen inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from videomt_bench import __version__
from videomt_bench.cli import data, diagnose, predict, report, run, score, sweep, variants, weights
from videomt_bench.cli.common import err, fail
from videomt_bench.errors import BenchError

app = typer.Typer(
    help="Benchmark and ablations of online video segmentation, from CAVIS to VidEoMT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    sweep.demo,
    run.train,
    run.evaluate,
    run.cost,
    predict.predict,
    diagnose.diagnose,
):
    app.command()(command)
app.add_typer(variants.app, name="variants")
app.add_typer(data.app, name="data")
app.add_typer(score.app, name="score")
app.add_typer(sweep.app, name="sweep")
app.add_typer(report.app, name="report")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Entry point: bad input is one sentence and exit code 2, never a traceback."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    try:
        app()
    except BenchError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        err.print("interrupted; run the same command again to continue")
        sys.exit(130)


def _version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...
