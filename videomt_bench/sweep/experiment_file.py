"""An experiment's file as plain settings; neither torch nor the experiment's parts are needed."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from videomt_bench.errors import BenchError, unknown
from videomt_bench.shipped import shipped
from videomt_bench.sweep.named import named_dataset


def experiment_names() -> list[str]:
    """The shipped experiments."""
    return sorted(f.stem for f in shipped("experiments").glob("*.py") if f.stem[0] != "_")


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """ "a.b=1" -> {"a.b": 1}; values are Python literals, and text where they are none.

    Raises:
        BenchError: no equals sign.
    """
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise BenchError(f"setting {setting!r} is not of the form dotted.key=value")
        try:
            values[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            values[key.strip()] = value
    return values


def read_settings(
    name_or_file: str, overrides: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """The name and the settings of an experiment.

    Args:
        name_or_file: "demo", or a path that ends in ``.py``.
        overrides: values by dotted key, as mmengine merges them.

    Raises:
        BenchError: no such experiment or named data set, or a file that cannot be read.
    """
    path = Path(name_or_file)
    if path.suffix != ".py":
        path = shipped("experiments") / f"{name_or_file}.py"
        if not path.is_file():
            raise unknown("experiment", name_or_file, experiment_names())
    elif not path.is_file():
        raise BenchError(f"the experiment file {name_or_file!r} does not exist")
    try:
        config = Config.fromfile(str(path), lazy_import=False)
        _name_datasets(config)
        if overrides:
            config.merge_from_dict(dict(overrides))
            _name_datasets(config)
    except BenchError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BenchError(f"the experiment {path} cannot be read: {reason}") from None
    return path.stem, {k: v for k, v in config.to_dict().items() if not k.startswith("_")}


def _name_datasets(config: Config) -> None:
    """Put the settings of data sets in the place of their names, before others change them."""
    found = config.get("datasets")
    if isinstance(found, list | tuple):
        config.datasets = [named_dataset(d) if isinstance(d, str) else d for d in found]
