"""From the arguments of ``train`` and ``evaluate`` to runs on published weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomt_bench.errors import BenchError

if TYPE_CHECKING:
    from videomt_bench.runs.spec import RunSpec


def needed(option: str, value: str | None, with_: str) -> str:
    """The value of an option without which another means nothing.

    Raises:
        BenchError: it is not given.
    """
    if value is None:
        raise BenchError(f"{with_} needs {option} too")
    return value


def published(
    weights: Path | None,
    dataset: str | None,
    variant: str | None,
    encoder: str | None,
    recipe: str | None,
    root: Path | None,
    settings: list[str] | None,
) -> RunSpec:
    """The run that tests published weights on one of the benchmarks.

    Raises:
        BenchError: an option is missing or out of place; see ``published_run``.
    """
    from videomt_bench.sweep.experiment_file import parse_overrides
    from videomt_bench.zoo.evaluation import published_run

    if weights is None:
        raise BenchError("nothing to evaluate; name an experiment and --variant, or --weights")
    if encoder is not None:
        raise BenchError("--encoder is of an experiment; a file of weights says its own")
    name = needed("--dataset", dataset, "--weights")
    return published_run(weights, name, root, variant, recipe, parse_overrides(settings or []))


def testing(spec: RunSpec, weights: Path) -> RunSpec:
    """A run of an experiment, with published weights in the place of its training."""
    from videomt_bench.runs.weights import weights_file

    return replace(spec, weights=weights_file(weights, own_positions=True), seed=0)


def from_segmenter(spec: RunSpec, weights: Path, allow: Sequence[str]) -> RunSpec:
    """A run whose video stage starts from a published segmenter."""
    from videomt_bench.runs.weights import weights_file

    file = weights_file(weights, allow, own_positions=True)
    return replace(spec, recipe=replace(spec.recipe, segmenter_weights=file))


def weights_line(found: Mapping[str, Any]) -> str:
    """What fitted of a file of weights, and what did not."""
    line = f"{found['file']} ({found['family']}): {found['matched']} tensors matched"
    for what in ("missing", "unexpected", "other_shape", "notes"):
        if names := found.get(what):
            line += f"; {what.replace('_', ' ')}: {', '.join(names)}"
    return line
