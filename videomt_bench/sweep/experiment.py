"""An experiment: one short Python file that names variants, and the grid of runs it stands for.

Experiment files are mmengine configuration files, code that the user chose to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models import EncoderSpec, load_variant, variant_names
from videomt_bench.models.encoders import build_encoder, check_weights
from videomt_bench.runs.config import build, merged, to_dict
from videomt_bench.runs.spec import CostProtocol, DatasetSpec, Recipe, RunSpec
from videomt_bench.sweep.experiment_file import experiment_names as experiment_names
from videomt_bench.sweep.experiment_file import parse_overrides as parse_overrides
from videomt_bench.sweep.experiment_file import read_settings
from videomt_bench.sweep.named import LIKE, dataset_names, named_recipe
from videomt_bench.sweep.outline import outline

VARIANT_CHANGES = ("recipe", "datasets", "encoders", "only", "on", "published", "weights")
DATASET_CHANGES = ("recipe", "cost", "title")


@dataclass(frozen=True)
class Experiment:
    """The grid: variants × encoders × data sets × recipes × seeds.

    ``recipe`` is written out, or begins with ``like``, a name of ``sweep.named``, and changes that.
    A ``like`` in the changes of a data set or of a variant replaces the name. ``recipes`` makes it
    several: the name of a row's setting -> what it has otherwise, after all other changes.

    ``published`` names the table of published numbers that its report shows. ``sizes`` gives, by
    encoder, a ``label`` for its rows and the published ``table`` and ``setting`` beside them;
    "{dataset}" in a setting stands for the title of the data set.

    ``changes`` is what single variants, in the grid or not, have otherwise: ``recipe`` (changed
    settings), ``datasets`` (by name, changed settings of its recipe there), ``encoders`` (by the
    name of an encoder of the grid, its changed settings), ``only`` (the encoders of the grid that
    it runs with), ``on`` (the data sets that it runs on), ``published`` (its row in the published
    table) and ``weights`` (the variant of published weights that its row shows too).
    ``dataset_changes`` is what single data sets have otherwise: ``recipe``, ``cost`` and ``title``;
    a variant's changes come after them.

    ``planned_variants`` and ``planned_encoders`` name those of the grid that may not exist yet: as
    long as they do not, they are left out and ``missing`` names them, as it does
    ``planned_datasets``. Any other name that does not exist is an error.
    """

    title: str
    variants: tuple[str, ...]
    encoders: tuple[EncoderSpec, ...]
    datasets: tuple[DatasetSpec, ...]
    recipe: dict[str, Any]
    recipes: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    cost: CostProtocol = field(default_factory=CostProtocol)
    published: str | None = None
    caption: str = ""
    device: str = "cpu"
    threads: int = 0
    data_root: str = ""
    """A folder that has the data sets' folders in it, in the place of theirs."""
    changes: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    dataset_changes: dict[str, Any] = field(default_factory=dict)
    planned_variants: tuple[str, ...] = ()
    planned_encoders: tuple[str, ...] = ()
    planned_datasets: dict[str, Any] = field(default_factory=dict)
    """Name -> what is needed for it that is not there."""
    figures: tuple[str, ...] = ()
    """The kinds of figures of its report, in order; without any, all that have data."""
    others: bool = False
    """Whether its tables end with the other systems of the published table."""
    name: str = ""

    def __post_init__(self) -> None:
        """Raises BenchError: a change of a variant, encoder, data set or setting not there."""
        variants = {*self.variants, *self.planned_variants, *variant_names()}
        encoders = {*(e.name for e in self.encoders), *self.planned_encoders}
        datasets = {*(d.name for d in self.datasets), *self.planned_datasets, *dataset_names()}
        _check_names("variant in changes", self.changes, variants)
        for variant, change in self.changes.items():
            _check_names(f"key in changes.{variant}", change, VARIANT_CHANGES)
            where = f"encoder in changes.{variant}"
            _check_names(where, (*change.get("encoders", ()), *change.get("only", ())), encoders)
            where = f"data set in changes.{variant}"
            _check_names(where, (*change.get("datasets", ()), *change.get("on", ())), datasets)
            if "weights" in change:
                where = f"variant in changes.{variant}.weights"
                _check_names(where, [change["weights"]], variants)
        _check_names("encoder in sizes", self.sizes, encoders)
        _check_names("data set in dataset_changes", self.dataset_changes, datasets)
        for dataset, change in self.dataset_changes.items():
            _check_names(f"key in dataset_changes.{dataset}", change, DATASET_CHANGES)

    def runs(self) -> list[RunSpec]:
        """Every run of the grid; rows of a table stay together.

        Raises:
            BenchError: a change names a setting that is not there.
        """
        runs = []
        for d in self.datasets:
            cells = [
                (v, e, self.encoder_of(v, e), self.recipe_of(v, d, r))
                for v, e, r in self.cells()
                if d.name in self.changes.get(v, {}).get("on", (d.name,))
            ]
            cost = self.cost_of(d)
            for encoder in self.all_encoders():
                row = [(v, own, recipe) for v, e, own, recipe in cells if e is encoder]
                runs += [
                    RunSpec(v, own, d, recipe, s, cost, self.device, self.threads)
                    for s in self.seeds
                    for v, own, recipe in row
                ]
        return runs

    def all_variants(self) -> list[str]:
        """The variants of the grid, without those planned that do not exist yet."""
        known = set(variant_names()) if self.planned_variants else set()
        return [v for v in self.variants if v in known or v not in self.planned_variants]

    def all_encoders(self) -> list[EncoderSpec]:
        """The encoders of the grid, without those planned that cannot be built yet."""
        planned = self.planned_encoders
        return [e for e in self.encoders if e.name not in planned or encoder_problem(e) is None]

    def cells(self) -> list[tuple[str, EncoderSpec, str]]:
        """Variant, encoder and name of the recipe ("" for the only one) of every row of the grid,
        on whichever of its data sets.

        An encoder's rows are together, and in them a variant's.
        """
        return [
            (v, e, r)
            for e in self.all_encoders()
            for v in self.all_variants()
            if e.name in self.changes.get(v, {}).get("only", (e.name,))
            for r in self.recipes or ("",)
        ]

    def missing(self) -> list[str]:
        """One sentence for every variant, encoder and data set of the table not there yet."""
        there, encoders = self.all_variants(), self.all_encoders()
        lines = [f"the variant {v!r} does not exist yet" for v in self.variants if v not in there]
        lines += [
            f"the encoder {e.name!r} cannot be built yet: {encoder_problem(e)}"
            for e in self.encoders
            if e not in encoders
        ]
        return lines + [
            f"the data set {name!r} is not part yet: {' '.join(str(why).split())}"
            for name, why in self.planned_datasets.items()
        ]

    def rows(self) -> dict[str, Any]:
        """What a report needs to know; see ``outline``."""
        return outline(self.name, to_dict(self))

    def recipe_of(self, variant: str, dataset: DatasetSpec, name: str = "") -> Recipe:
        """The recipe of a variant on a data set, as one of ``recipes`` or as all have it.

        It has the stage of a refiner only where the variant has one.

        Raises:
            BenchError: no such named recipe, or a setting that is not there.
        """
        data, own = dataset.name, self.changes.get(variant, {})
        places = {
            "recipe": self.recipe,
            f"dataset_changes.{data}.recipe": self.dataset_changes.get(data, {}).get("recipe"),
            f"changes.{variant}.recipe": own.get("recipe"),
            f"changes.{variant}.datasets.{data}": own.get("datasets", {}).get(data),
            f"recipes.{name}": self.recipes[name] if name else None,
        }
        changes = {
            f"{self.name or 'experiment'}.{place}": change
            for place, change in places.items()
            if change or place == "recipe"
        }
        for where, change in changes.items():
            if not isinstance(change, Mapping):
                raise BenchError(f"{where} must be a table of settings, not {change!r}")
        named = [change[LIKE] for change in changes.values() if LIKE in change]
        settings = named_recipe(str(named[-1]), dataset.layout) if named else {}
        for where, change in changes.items():
            settings = merged(settings, {k: v for k, v in change.items() if k != LIKE})
            recipe = build(Recipe, settings, where)
        return _without_refining(variant, recipe.known())

    def cost_of(self, dataset: DatasetSpec) -> CostProtocol:
        """How cost is measured on a data set."""
        changes = self.dataset_changes.get(dataset.name, {}).get("cost")
        if not changes:
            return self.cost
        where = f"{self.name or 'experiment'}.dataset_changes.{dataset.name}.cost"
        return build(CostProtocol, merged(to_dict(self.cost), changes), where)

    def encoder_of(self, variant: str, encoder: EncoderSpec) -> EncoderSpec:
        """What a variant has in place of an encoder of the grid."""
        changes = self.changes.get(variant, {}).get("encoders", {}).get(encoder.name, {})
        where = f"{self.name or 'experiment'}.changes.{variant}.encoders"
        return build(EncoderSpec, {**to_dict(encoder), **changes}, where) if changes else encoder

    def one(self, variant: str, encoder: str | None = None, recipe: str | None = None) -> RunSpec:
        """The first run of a variant, with any encoder and any named recipe.

        Args:
            variant: one of the grid.
            encoder: of the grid, by the name there or the variant's own; or any other, which gets
                the settings of the grid's first. None: the first of the grid.
            recipe: of ``sweep.named``, in the place of that which the experiment names.

        Raises:
            BenchError: none such, or the experiment's recipe is written out.
        """
        runs = {spec.variant: spec for spec in reversed(self.runs())}
        if variant not in runs:
            raise unknown(f"variant of {self.name}", variant, runs)
        spec = runs[variant]
        if encoder is not None:
            spec = replace(spec, encoder=self._encoder(variant, encoder))
        if recipe is not None:
            spec = replace(
                spec, recipe=self._with(variant, recipe).recipe_of(variant, spec.dataset)
            )
        return spec

    def _encoder(self, variant: str, name: str) -> EncoderSpec:
        for encoder in self.all_encoders():
            own = self.encoder_of(variant, encoder)
            if name in (encoder.name, own.name):
                return own
        other = replace(self.all_encoders()[0], name=name)
        check_weights(replace(other, weights=None))
        return other

    def _with(self, variant: str, recipe: str) -> Experiment:
        """The same experiment, with a named recipe for a variant."""
        if LIKE not in self.recipe:
            raise BenchError(
                f"the recipe of {self.name} is written out, so {recipe!r} cannot take its "
                "place; change single settings of it"
            )
        own = self.changes.get(variant, {})
        own = {**own, "recipe": {**own.get("recipe", {}), LIKE: recipe}}
        return replace(self, changes={**self.changes, variant: own})

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
        names = [*(d.name for d in kept), *self.planned_datasets]
        changes = {
            variant: {k: _some(v, names) if k in ("datasets", "on") else v for k, v in c.items()}
            for variant, c in self.changes.items()
        }
        return replace(
            self,
            seeds=seeds or self.seeds,
            datasets=kept,
            changes=changes,
            dataset_changes=_some(self.dataset_changes, names),
        )


def _without_refining(variant: str, recipe: Recipe) -> Recipe:
    """The recipe of an online variant, which has no refiner to train."""
    online = recipe.online
    if online == recipe or variant not in variant_names() or load_variant(variant).online:
        return recipe
    return online


def _some(changes: Any, names: Sequence[str]) -> Any:
    """What of a table by data set, or of a list of data sets, is of those."""
    if isinstance(changes, Mapping):
        return {name: change for name, change in changes.items() if name in names}
    return [name for name in changes if name in names]


def encoder_problem(encoder: EncoderSpec) -> str | None:
    """Why an encoder cannot be built here, or None; its weights do not matter."""
    return _encoder_problem(replace(encoder, weights=None))


@cache
def _encoder_problem(encoder: EncoderSpec) -> str | None:
    try:
        with torch.device("meta"):
            build_encoder(encoder)
    except BenchError as error:
        return str(error)
    return None


def _check_names(kind: str, names: Iterable[str], valid: Iterable[str]) -> None:
    for name in names:
        if name not in valid:
            raise unknown(kind, name, valid)


def load_experiment(name_or_file: str, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Load an experiment by the name of a shipped one or from a file.

    Args:
        name_or_file: "demo", or a path that ends in ``.py``.
        overrides: values by dotted key, as mmengine merges them.

    Raises:
        BenchError: no such experiment, a file that cannot be read, or an unknown key in it.
    """
    name, settings = read_settings(name_or_file, overrides)
    experiment = replace(build(Experiment, settings, name), name=name)
    if experiment.data_root:
        placed = tuple(d.below(experiment.data_root) for d in experiment.datasets)
        experiment = replace(experiment, datasets=placed)
    for dataset in experiment.datasets:
        for recipe in experiment.recipes or ("",):
            experiment.recipe_of("", dataset, recipe)
    return experiment
