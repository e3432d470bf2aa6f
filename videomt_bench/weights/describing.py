"""What a file is and what of it fits, without looking at a value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from videomt_bench.models import load_variants
from videomt_bench.weights.identify import Weights, WeightsInfo, open_weights
from videomt_bench.weights.loading import build_model, fitted
from videomt_bench.weights.matching import MatchReport, match
from videomt_bench.weights.rules import Renamed


def describe(
    path: Path | str, variant: str | None = None
) -> tuple[WeightsInfo, MatchReport | None]:
    """What a file is, and how it goes together with the model that it fills.

    There is no report where there is no such model here. Of weights that do not say their variant,
    all variants are tried; the report is that of ``variant`` or of the first that fits.

    Raises:
        BenchError: the file cannot be read, or is of no known family.
    """
    weights = open_weights(path)
    info = weights.info
    if (alone := weights.alone) is not None:
        return info, match(alone.own(), Renamed(alone.state, alone.unused))
    if variant is None and info.variant is None and info.segmenter_of is None:
        fitting = fitting_variants(weights)
        if not fitting:
            return info, None
        note = f"the variants with these tensors are {', '.join(fitting)}"
        only = fitting[0] if len(fitting) == 1 else None
        info = replace(info, variant=only, notes=(*info.notes, note))
        variant = fitting[0]
    with torch.device("meta"):
        model = build_model(replace(info, variant=variant or info.variant))
    return info, fitted(model, weights)[1]


def fitting_variants(weights: Weights) -> list[str]:
    """The variants that the weights fill without anything missing or left, by name."""
    spec = weights.info.spec()
    found = []
    for candidate in load_variants():
        with torch.device("meta"):
            model = candidate.build(spec)
        if fitted(model, weights)[1].complete:
            found.append(candidate.name)
    return found
