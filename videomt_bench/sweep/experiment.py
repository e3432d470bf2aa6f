"""An experiment: one short Python file that names variants, and the grid of runs it stands for.

Experiment files are mmengine configuration files, code that the user chose to run.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models import EncoderSpec, load_variant, variant_names
from videomt_bench.runs.config import build, merged, to_dict
from videomt_bench.runs.spec import CostProtocol, DatasetSpec, Recipe, RunSpec
from videomt_bench.shipped import shipped


@dataclass(frozen=True)
class Experiment:
    """The grid: variants × encoders × data sets × seeds, with one recipe.

    ``published`` names the table of published numbers that its report shows. ``sizes`` gives, by
    encoder, a ``label`` for its rows and the published ``table`` and ``setting`` beside them.
    ``changes`` is what single variants, in the grid or not, have otherwise: ``recipe`` (changed
    settings) and ``encoders`` (by the name of an encoder of the grid, its changed settings).
    """

    title: str
    variants: tuple[str, ...]
    encoders: tuple[EncoderSpec, ...]
    datasets: tuple[DatasetSpec, ...]
    recipe: Recipe
    seeds: tuple[int, ...] = (0,)
    cost: CostProtocol = field(default_factory=CostProtocol)
    published: str | None = None
    caption: str = ""
    device: str = "cpu"
    threads: int = 0
    changes: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        """Raises BenchError: a change of a variant, encoder or setting that is not there."""
        encoders = [e.name for e in self.encoders]
        names = {*self.variants, *variant_names()}
        for variant, change in self.changes.items():
            if variant not in names:
                raise unknown("variant in changes", variant, names)
            for key in change:
                if key not in ("recipe", "encoders"):
                    raise unknown(f"key in changes.{variant}", key, ("recipe", "encoders"))
            for name in change.get("encoders", {}):
                if name not in encoders:
                    raise unknown(f"encoder in changes.{variant}", name, encoders)
        for name in self.sizes:
            if name not in encoders:
                raise unknown("encoder in sizes", name, encoders)

    def runs(self) -> list[RunSpec]:
        """Every run of the grid; rows of a table stay together."""
        return [
            RunSpec(
                v,
                self.encoder_of(v, e),
                d,
                self.recipe_of(v),
                s,
                self.cost,
                self.device,
                self.threads,
            )
            for d in self.datasets
            for e in self.encoders
            for s in self.seeds
            for v in self.variants
        ]

    def rows(self) -> dict[str, Any]:
        """What a report needs to know: name, title, published table, rows and data sets."""
        titles = {name: load_variant(name).title for name in self.variants}
        rows = [
            {"variant": v, "label": titles[v] + self._suffix(e), **self._size(v, e)}
            for e in self.encoders
            for v in self.variants
        ]
        return {
            "name": self.name,
            "title": self.title,
            "published": self.published,
            "caption": self.caption,
            "rows": rows,
            "datasets": [d.name for d in self.datasets],
        }

    def recipe_of(self, variant: str) -> Recipe:
        """The recipe of a variant."""
        changes = self.changes.get(variant, {}).get("recipe", {})
        if not changes:
            return self.recipe
        where = f"{self.name or 'experiment'}.changes.{variant}.recipe"
        return build(Recipe, merged(to_dict(self.recipe), changes), where)

    def encoder_of(self, variant: str, encoder: EncoderSpec) -> EncoderSpec:
        """What a variant has in place of an encoder of the grid."""
        changes = self.changes.get(variant, {}).get("encoders", {}).get(encoder.name, {})
        where = f"{self.name or 'experiment'}.changes.{variant}.encoders"
        return build(EncoderSpec, {**to_dict(encoder), **changes}, where) if changes else encoder

    def _size(self, variant: str, encoder: EncoderSpec) -> dict[str, Any]:
        """What a report's row says of its encoder, where there are several."""
        if len(self.encoders) == 1 and not self.sizes:
            return {}
        size = dict(self.sizes.get(encoder.name, {}))
        size["size"] = size.pop("label", encoder.name)
        return {"encoder": self.encoder_of(variant, encoder).name, **size}

    def _suffix(self, encoder: EncoderSpec) -> str:
        label = self.sizes.get(encoder.name, {}).get("label")
        return f", {label}" if label else ""

    def select(
        self, seeds: tuple[int, ...] | None = None, datasets: tuple[str, ...] = ()
    ) -> Experiment:
        """The same experiment with other seeds, or with some of its data sets.

        Raises:
            BenchError: a data set that the experiment does not have.
        """
        names = [d.name for d in self.datasets]
        for name in datasets:
            if name not in names:
                raise unknown(f"data set of {self.name}", name, names)
        kept = tuple(d for d in self.datasets if not datasets or d.name in datasets)
        return replace(self, seeds=seeds or self.seeds, datasets=kept)


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


def load_experiment(name_or_file: str, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Load an experiment by the name of a shipped one or from a file.

    Args:
        name_or_file: "demo", or a path that ends in ``.py``.
        overrides: values by dotted key, as mmengine merges them.

    Raises:
        BenchError: no such experiment, a file that cannot be read, or an unknown key in it.
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
        if overrides:
            config.merge_from_dict(dict(overrides))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BenchError(f"the experiment {path} cannot be read: {reason}") from None
    settings = {k: v for k, v in config.to_dict().items() if not k.startswith("_")}
    return replace(build(Experiment, settings, path.stem), name=path.stem)
