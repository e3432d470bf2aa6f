"""From a file of published weights and the name of a data set to a run that tests it.

The test protocol is that of the checkpoint: of its public configuration, as the zoo has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from videomt_bench.errors import BenchError
from videomt_bench.models import load_variant
from videomt_bench.runs.config import build, merged
from videomt_bench.runs.spec import DatasetSpec, Recipe, RunSpec
from videomt_bench.runs.weights import weights_file
from videomt_bench.sweep.named import named_dataset, named_recipe
from videomt_bench.weights import WeightsInfo, inspect_weights
from videomt_bench.zoo.checkpoints import Checkpoint, checkpoint_of


def published_run(
    path: Path,
    dataset: str,
    root: Path | None = None,
    variant: str | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunSpec:
    """The run that tests a file of weights on a data set.

    Args:
        path: a file in any layout that ``videomt_bench.weights`` knows, or its folder.
        dataset: one of ``sweep.named``.
        root: the folder that has the folders of the data sets in it.
        variant: what it fills, where the file does not say.
        recipe: whose test protocol is taken, in the place of the checkpoint's own.
        settings: of the run, by dotted key, such as ``recipe.test.short_side``.

    Raises:
        BenchError: the file cannot be read, is no model for videos, or has other classes than the
            data set; or there is no such data set, variant, recipe or setting.
    """
    weights, info = weights_file(path), inspect_weights(path)
    variant = variant or variant_of(path, info)
    offline = bool(load_variant(variant).online)
    data = build(DatasetSpec, named_dataset(dataset), dataset)
    sizes = info.spec()
    if sizes.num_classes != data.num_classes:
        raise BenchError(
            f"the weights {str(path)!r} have {sizes.num_classes} classes, but the data set "
            f"{dataset!r} has {data.num_classes}"
        )
    found = checkpoint_of(variant, sizes.encoder.name, dataset, weights.sha256, path.name)
    if recipe is None and found is None:
        raise BenchError(
            f"no published checkpoint of {variant!r} on {sizes.encoder.name} says how these "
            "weights are tested; name a recipe with --recipe"
        )
    own = _recipe(recipe, data.layout, found)
    # in the place of the online one, where settings can change it
    selection = (own.offline_selection if offline else None) or own.selection
    # tags name the pre-training, which a file does not show; tables know encoders with theirs
    encoder = sizes.encoder if found is None else replace(sizes.encoder, name=found.encoder)
    spec = RunSpec(
        variant,
        encoder,
        data if root is None else data.below(str(root)),
        replace(own.online, num_queries=sizes.num_queries, selection=selection),
        seed=0,
        device="cuda" if torch.cuda.is_available() else "cpu",
        weights=weights,
    )
    return changed(spec, settings or {})


def changed(spec: RunSpec, settings: Mapping[str, Any]) -> RunSpec:
    """A run with other settings, by dotted key.

    Raises:
        BenchError: there is no such setting, or its value is not valid.
    """
    document = spec.to_json()
    for key, value in settings.items():
        for name in reversed(key.split(".")):
            value = {name: value}
        document = merged(document, value)
    return RunSpec.from_json(document)


def variant_of(path: Path, info: WeightsInfo) -> str:
    """The variant that a file of weights fills.

    Raises:
        BenchError: it is no model for videos, or does not say which.
    """
    if info.variant is not None:
        return info.variant
    if info.segmenter_of is not None:
        raise BenchError(
            f"the weights {str(path)!r} are a {info.title}, which no video model is; start the "
            "training of one from it with `train --segmenter-weights`"
        )
    raise BenchError(
        f"the weights {str(path)!r} ({info.title}) do not say which variant they fill; "
        "name it with --variant"
    )


def _recipe(name: str | None, layout: str, published: Checkpoint | None) -> Recipe:
    """A recipe by name, or that of a checkpoint with what its own test protocol has otherwise."""
    if name is not None or published is None:
        return build(Recipe, named_recipe(str(name), layout), str(name))
    own = merged(named_recipe(published.recipe, layout), published.changes)
    return build(Recipe, own, published.recipe)
