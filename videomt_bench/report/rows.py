"""The rows of a table: which runs belong to a row, what was measured, why something was not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.report.origins import TESTED, distinctions
from videomt_bench.report.published import (
    PublishedCell,
    load_published,
    other_rows,
    published_cells,
)
from videomt_bench.report.records import (
    PREFERRED,
    Group,
    Problem,
    canonical,
    differing,
    flatten,
    metric_value,
)
from videomt_bench.report.statistics import Estimate
from videomt_bench.report.stored import Drawn, StoredRuns
from videomt_bench.report.systems import row_title, system_label
from videomt_bench.runs.record import Record

STATE_WORDS = {
    "planned": "not run yet",
    "running": "still running",
    "completed": "not measured",
    "failed": "failed",
    "out_of_memory": "out of memory",
    "timed_out": "timed out",
    "preempted": "preempted",
}
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ONLY_PUBLISHED = "no row of the experiment builds this system"
TOLERANCE = 0.01
"""In percent: statistics that give another metric than the record are not those of the record."""


@dataclass(frozen=True)
class Setting:
    """A dataset setting, which gets a table and a figure of its own; ``slug`` may be empty."""

    dataset: Mapping[str, Any]
    slug: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the experiment. ``key`` is the variant, numbered where it has several rows."""

    key: str
    variant: str
    label: str
    group: Group | None
    estimates: Mapping[str, Estimate]
    """Metrics in percent, by name."""
    published: Mapping[str, PublishedCell]
    problems: tuple[Problem, ...] = field(default=())
    size: str = ""
    """Which of several encoder sizes the row belongs to, in words."""
    reason: str = ""
    """Why there can be no runs, where that is known."""

    @property
    def ap(self) -> Estimate | None:
        """The measured AP."""
        return self.estimates.get("AP")

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of the row, by seed."""
        return self.group.records if self.group else ()

    def seeds(self, metric: str) -> tuple[int, ...]:
        """The seeds that have a metric, in the order of its estimate."""
        measured = [r for r in self.records if metric_value(r, metric) is not None]
        return tuple(record.spec["seed"] for record in measured)

    def missing(self) -> str:
        """Why a cell of the row is empty."""
        if not self.records:
            return f"not run: {self.reason}" if self.reason else "not run"
        reasons = [state_reason(record) for record in self.records]
        if len(set(reasons)) == 1:
            return reasons[0]
        seeds = self.group.seeds if self.group else ()
        return "; ".join(f"seed {s}: {reason}" for s, reason in zip(seeds, reasons, strict=True))


def state_reason(record: Record) -> str:
    """A run's state in words, with the reason it gives."""
    words = STATE_WORDS[record.state]
    if record.reason and record.state != "completed":
        reason = " ".join(str(record.reason).split())
        return f"{words}: {reason[:200]}{'…' if len(reason) > 200 else ''}"
    return words


def check_experiment(experiment: Mapping[str, Any]) -> None:
    """Reject an experiment that cannot become a table.

    Raises:
        BenchError: a missing or unusable name, title or row.
    """
    name = experiment.get("name")
    if not isinstance(name, str) or not SAFE_NAME.fullmatch(name):
        raise BenchError(f"experiment name {name!r} must be letters, digits, '.', '_' and '-'")
    if not isinstance(experiment.get("title"), str):
        raise BenchError(f"experiment {name!r} has no title")
    rows = experiment.get("rows")
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        raise BenchError(f"experiment {name!r} has no rows")
    for row in rows:
        if not isinstance(row, Mapping) or not {"variant", "label"} <= set(row):
            raise BenchError(f"experiment {name!r} has the row {row!r}; wanted: variant, label")


def settings_of(experiment: Mapping[str, Any], groups: Sequence[Group]) -> list[Setting]:
    """One setting per dataset of the experiment, in its order, else of the records."""
    variants = {row.get(key) for row in experiment["rows"] for key in ("variant", "weights")}
    groups = [group for group in groups if group.variant in variants]
    datasets = {canonical(g.spec["dataset"]): g.spec["dataset"] for g in groups}
    chosen: list[Any] = [datasets[key] for key in sorted(datasets)]
    if wanted := experiment.get("datasets"):
        entries = [{"name": e} if isinstance(e, str) else dict(e) for e in wanted]
        found = [d for e in entries for d in _matching(e, chosen) or [e]]
        chosen = [d for i, d in enumerate(found) if d not in found[:i]]
    chosen = chosen or [{}]
    return [
        Setting(d, slug, tuple(g for g in groups if canonical(g.spec["dataset"]) == canonical(d)))
        for d, slug in zip(chosen, _slugs(chosen), strict=True)
    ]


def _matching(entry: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The datasets with the entry's plain fields; where the files lie does not matter."""
    plain = {k: v for k, v in entry.items() if isinstance(v, str | int | float) and k != "root"}
    return [d for d in datasets if all(d.get(key) == value for key, value in plain.items())]


def _slugs(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names for file names: of the leaves in which the datasets differ, few enough."""
    if len(datasets) == 1:
        return [""]
    slugs = [""] * len(datasets)
    for leaf in sorted(differing(datasets)[0], key=lambda n: (n not in ("name", "scene"), n)):
        values = [leaves[leaf] for leaves in differing(datasets)]
        slugs = [f"{s}-{slug_of(v)}".strip("-") for s, v in zip(slugs, values, strict=True)]
        if len(set(slugs)) == len(slugs):
            return slugs
    return [f"{i}-{slug}".strip("-") for i, slug in enumerate(slugs, start=1)]


def slug_of(text: str) -> str:
    """Lower case, and nothing that is odd in a file's name."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def build_rows(experiment: Mapping[str, Any], setting: Setting, stored: StoredRuns) -> list[Row]:
    """The rows of one table, in the experiment's order; a row without runs is a row too.

    Runs of one variant that differ in more than the seed (encoder, recipe) become rows of their
    own, labelled with the difference, and so do published weights: they are never averaged. Those
    may be of another variant, which the row names as its ``weights``. A row that names a
    ``dataset`` is of the table of that data set alone.
    """
    place = (None, setting.dataset.get("name"))
    entries = [entry for entry in experiment["rows"] if entry.get("dataset") in place]
    names = {entry.get("table", experiment.get("published")) for entry in entries}
    tables = {name: load_published(name) for name in names if name}
    rows = []
    for entry in entries:
        key = entry.get("published", entry["variant"])
        table = tables.get(entry.get("table", experiment.get("published")))
        # another setting than the system's own is not what was published
        known = table is not None and not entry.get("settings")
        cells = published_cells(table, key, entry.get("setting")) if known else {}
        groups = [g for g in setting.groups if _belongs(g, entry, entries)]
        size, reason = str(entry.get("size", "")), str(entry.get("reason", ""))
        if not groups:
            variant, label = entry["variant"], row_title(entry["variant"], entry["label"])
            rows.append(Row(variant, variant, label, None, {}, cells, (), size, reason))
        for i, (group, suffix) in enumerate(
            zip(groups, distinctions(groups), strict=True), start=1
        ):
            other = [group.variant] if group.variant != entry["variant"] else []
            suffix = ", ".join([*other, *([suffix] if suffix else [])])
            label = entry["label"] + (f" ({suffix})" if suffix else "")
            key = "@".join([entry["variant"], *([entry["recipe"]] if "recipe" in entry else [])])
            key += f"#{i}" if len(groups) > 1 else ""
            estimates, problems = measured(group, stored)
            found = (group, estimates, cells, tuple(problems), size)
            rows.append(Row(key, entry["variant"], label, *found))
    return rows + _only_published(experiment, rows)


def _only_published(experiment: Mapping[str, Any], rows: Sequence[Row]) -> list[Row]:
    """The systems of the published table that no row has, where the experiment asks for them."""
    if not experiment.get("others"):
        return []
    found = other_rows(str(experiment["published"]), [row.published for row in rows])
    return [
        Row(name, name, system_label(name, encoder), None, {}, cells, reason=ONLY_PUBLISHED)
        for name, encoder, cells in found
    ]


def _belongs(group: Group, entry: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a group is of an entry, and of no other that names more of its recipe."""
    fits = [e for e in entries if _fits(group, e)]
    most = max((_named(e) for e in fits), default=0)
    return entry in fits and _named(entry) == most


def _fits(group: Group, entry: Mapping[str, Any]) -> bool:
    encoder = entry.get("encoder", group.spec["encoder"].get("name"))
    shown = [entry["variant"], *([entry.get("weights")] if group.spec.get(TESTED) else [])]
    return (
        group.variant in shown
        and encoder == group.spec["encoder"].get("name")
        and _has(group.spec["recipe"], entry.get("settings", {}))
    )


def _named(entry: Mapping[str, Any]) -> int:
    return len(flatten(entry["settings"])) if entry.get("settings") else 0


def _has(recipe: Any, settings: Any) -> bool:
    """Whether a recipe, as JSON, has all the settings."""
    if not isinstance(settings, Mapping):
        return bool(recipe == (list(settings) if isinstance(settings, tuple) else settings))
    return isinstance(recipe, Mapping) and all(
        _has(recipe.get(key), value) for key, value in settings.items()
    )


def measured(group: Group, stored: StoredRuns) -> tuple[dict[str, Estimate], list[Problem]]:
    """The means over seeds, in percent, with draws where the statistics give them."""
    drawn, problems = _drawn(group, stored)
    estimates = {}
    for name in sorted({name for record in group.records for name in record.metrics}):
        values = [(r, v) for r in group.records if (v := metric_value(r, name)) is not None]
        runs = [drawn[r.run_id] for r, _ in values if r.run_id in drawn]
        if values:
            complete = len(runs) == len(values) and all(name in run.lines for run in runs)
            paired = complete and len({run.truth for run in runs}) == 1
            per_seed = tuple(value for _, value in values)
            unit = values[0][0].metrics[name].unit
            estimates[name] = _estimate(name, per_seed, runs if paired else [], unit)
    return estimates, problems


def _estimate(name: str, per_seed: tuple[float, ...], runs: Sequence[Drawn], unit: str) -> Estimate:
    if not runs:
        return Estimate(per_seed)
    draws = np.stack([run.draws(name) for run in runs])
    without_one = np.stack([run.without_one(name) for run in runs])
    bounds = (0.0, 100.0) if unit == "fraction" else (-np.inf, np.inf)
    return Estimate(per_seed, draws, runs[0].videos, without_one, bounds)


def _drawn(group: Group, stored: StoredRuns) -> tuple[dict[str, Drawn], list[Problem]]:
    """What was drawn, by run; statistics that do not give the record's metrics are a problem."""
    drawn, problems = {}, []
    for record in group.records:
        if all(metric_value(record, name) is None for name in PREFERRED):
            continue
        try:
            drawn[record.run_id] = _checked(stored.drawn(record), record)
        except BenchError as error:
            problems.append(Problem(f"{record.run_id}.json", str(error)))
    return drawn, problems


def _checked(drawn: Drawn, record: Record) -> Drawn:
    for name in PREFERRED:
        value = metric_value(record, name)
        again = drawn.whole(name) if name in drawn.lines else np.nan
        if value is not None and not abs(again - value) < TOLERANCE:
            raise BenchError(
                f"its per-video statistics give {name} {again:.2f}, the record {value:.2f}"
            )
    return drawn
