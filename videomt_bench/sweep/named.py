"""Recipes and data sets by name, as the shipped ``experiments/_base`` has them.

Plain settings: neither torch nor a data set is needed.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

from mmengine.config import Config

from videomt_bench.errors import BenchError, unknown
from videomt_bench.runs.config import merged
from videomt_bench.shipped import shipped

LIKE = "like"
"""The key by which a recipe names the one that it starts from."""


def recipe_names() -> list[str]:
    """Every recipe that ``like`` can name."""
    return sorted(_shipped("recipes"))


def dataset_names() -> list[str]:
    """Every data set that an experiment can name."""
    return sorted(_shipped("datasets"))


def named_dataset(name: str) -> dict[str, Any]:
    """The settings of a data set.

    Raises:
        BenchError: there is none of this name.
    """
    if name not in _shipped("datasets"):
        raise unknown("data set", name, dataset_names())
    return deepcopy(_shipped("datasets")[name])


def named_recipe(name: str, layout: str) -> dict[str, Any]:
    """The settings of a recipe on data of a layout, its name among them.

    Raises:
        BenchError: there is none of this name, or it is not for such data.
    """
    settings: dict[str, Any] = {}
    layouts: set[str] = set()
    for entry in _line(name):
        layouts |= set(entry.get("datasets", {}))
        settings = merged(settings, entry.get("recipe", {}))
        settings = merged(settings, entry.get("datasets", {}).get(layout, {}))
    if layout not in layouts:
        raise unknown(f"layout of data for the recipe {name}", layout, layouts)
    return {"name": name, **deepcopy(settings)}


def recipe_source(name: str) -> str:
    """In a few words, where a recipe is from."""
    return str(_line(name)[-1]["about"])


def _line(name: str) -> list[dict[str, Any]]:
    """A recipe after those that it starts from."""
    recipes = _shipped("recipes")
    if name not in recipes:
        raise unknown("recipe", name, recipes)
    entry = recipes[name]
    return [*(_line(entry[LIKE]) if LIKE in entry else []), entry]


@cache
def _shipped(kind: str) -> dict[str, Any]:
    file = shipped("experiments") / "_base" / f"{kind}.py"
    try:
        return dict(Config.fromfile(str(file), lazy_import=False).to_dict()[kind])
    except (OSError, KeyError, SyntaxError) as error:
        raise BenchError(f"cannot read the {kind} in {file}: {error}") from None
