"""Any two variants of a results folder, side by side: every metric, difference, interval and p."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError, unknown
from videomt_bench.report.differences import Difference, corrected, difference
from videomt_bench.report.records import (
    PREFERRED,
    Group,
    Problem,
    differing,
    group_runs,
    load_records,
)
from videomt_bench.report.rows import Row, measured
from videomt_bench.report.statistics.estimates import DRAWS
from videomt_bench.report.stored import StoredRuns
from videomt_bench.report.tables.details import DETAILS
from videomt_bench.report.tables.display import DASH, fixed, interval_text, p_text, signed
from videomt_bench.runs.record import Record

HEADER = ("metric", "A", "B", "A − B", "95 % interval", "p", "p, corrected", "videos", "seeds")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two variants on one data set. ``p_corrected`` of a difference is over its metrics."""

    dataset: str
    a: Row
    b: Row
    differences: tuple[Difference, ...]
    settings: tuple[str, ...]
    """Fields of encoder and recipe in which the two differ."""
    problems: tuple[Problem, ...] = field(default=())

    def lines(self) -> list[tuple[str, ...]]:
        """One line of text for each metric, as HEADER names the columns."""
        return [self._line(found) for found in self.differences]

    def _line(self, found: Difference) -> tuple[str, ...]:
        estimate, interval = found.estimate, found.estimate.interval
        values = [fixed(value) for value in self._means(found)]
        p_values = [
            DASH if p is None else p_text(p).removeprefix("p = ").removeprefix("p ")
            for p in (found.p, found.p_corrected)
        ]
        return (
            found.metric,
            *values,
            signed(estimate.mean) + ("*" if found.is_beyond_noise else ""),
            interval_text(interval) if interval else DASH,
            *p_values,
            str(estimate.n_videos or DASH),
            str(len(found.seeds)),
        )

    def _means(self, found: Difference) -> tuple[float, float]:
        """Of the seeds that both have."""
        means = []
        for row in (self.a, self.b):
            positions = [row.seeds(found.metric).index(seed) for seed in found.seeds]
            means.append(row.estimates[found.metric].of_seeds(positions).mean)
        return means[0], means[1]

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values; percent."""
        return {
            "dataset": self.dataset,
            "a": _side(self.a),
            "b": _side(self.b),
            "settings": list(self.settings),
            "problems": [vars(problem) for problem in self.problems],
            "metrics": [self._json(found) for found in self.differences],
        }

    def _json(self, found: Difference) -> dict[str, Any]:
        a, b = self._means(found)
        estimate, interval = found.estimate, found.estimate.interval
        return {
            "metric": found.metric,
            "a": a,
            "b": b,
            "difference": estimate.mean,
            "deviation": estimate.deviation,
            "interval": [interval.low, interval.high] if interval else None,
            "p": found.p,
            "p_videos": found.p_videos,
            "p_corrected": found.p_corrected,
            "beyond_noise": found.is_beyond_noise,
            "videos": estimate.n_videos or None,
            "seeds": list(found.seeds),
        }


def _side(row: Row) -> dict[str, Any]:
    return {"variant": row.variant, "label": row.label, "runs": [r.run_id for r in row.records]}


def compare(
    results: Path, a: str, b: str, dataset: str | None = None, draws: int = DRAWS
) -> list[Comparison]:
    """Compare two variants on every data set that both were tested on.

    Args:
        results: the folder that holds ``records``.
        a: a variant, one of its settings as ``variant#2`` where it has several, or a run id.
        b: the other.
        dataset: the name of one of their data sets; None is all.
        draws: of the bootstrap.

    Raises:
        BenchError: no results, an unknown name, no common data set or seed, other videos, or no
            per-video statistics.
    """
    records, problems = load_records(results)
    groups, superseded = group_runs(records)
    sides = [_chosen(name, groups, records) for name in (a, b)]
    by_dataset = [_by_dataset(side) for side in sides]
    common = [name for name in by_dataset[0] if name in by_dataset[1]]
    if not common:
        lists = [", ".join(sorted(side)) for side in by_dataset]
        raise BenchError(f"{a} was run on {lists[0]} and {b} on {lists[1]}: nothing in common")
    if dataset is not None and dataset not in common:
        raise unknown(f"data set of {a} and {b}", dataset, common)
    stored = StoredRuns(results, draws)
    names, others = (a, b), problems + superseded
    return [
        _compare(name, [_only(n, s[name]) for n, s in zip(names, by_dataset, strict=True)], names,
                 stored, others)
        for name in common
        if dataset in (None, name)
    ]  # fmt: skip


def _bare(p: float | None) -> str:
    return DASH if p is None else p_text(p).removeprefix("p = ").removeprefix("p ")


def _dataset(group: Group) -> str:
    return str(group.spec["dataset"].get("name"))


def _chosen(name: str, groups: Sequence[Group], records: Sequence[Record]) -> list[Group]:
    """The groups that a variant, a numbered setting of it, or a run id names."""
    for record in records:
        if record.run_id == name:
            group = next(g for g in groups for r in g.records if r.run_id == name)
            return [Group(group.spec, (record,))]
    variant, _, number = name.partition("#")
    own = [group for group in groups if group.variant == variant]
    if own and not number:
        return own
    if number.isdecimal() and own:
        found = [
            settings[int(number) - 1]
            for settings in _by_dataset(own).values()
            if 0 < int(number) <= len(settings)
        ]
        if found:
            return found
    raise unknown("variant or run", name, {g.variant for g in groups})


def _by_dataset(groups: Sequence[Group]) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(_dataset(group), []).append(group)
    return found


def _only(name: str, groups: Sequence[Group]) -> Group:
    """The single setting of a variant on a data set.

    Raises:
        BenchError: there are several.
    """
    if len(groups) == 1:
        return groups[0]
    leaves = differing([group.spec for group in groups])
    texts = [
        f"{name}#{i} ({', '.join(f'{key} {value[:40]}' for key, value in own.items())})"
        for i, own in enumerate(leaves, start=1)
    ]
    raise BenchError(f"{name} has {len(groups)} settings on {_dataset(groups[0])}; valid: "
                     + ", ".join(texts))  # fmt: skip


def _compare(
    dataset: str,
    groups: Sequence[Group],
    names: Sequence[str],
    stored: StoredRuns,
    problems: Sequence[Problem],
) -> Comparison:
    rows = []
    for group, name in zip(groups, names, strict=True):
        estimates, own = measured(group, stored)
        rows.append(Row(name, group.variant, name, group, estimates, {}, tuple(own)))
        if own:
            raise BenchError(f"{own[0].file.removesuffix('.json')}: {own[0].reason}")
    a, b = rows
    metrics = [m for m in (*PREFERRED, *DETAILS) if m in a.estimates and m in b.estimates]
    if not metrics:
        empty = next((row for row in rows if not row.estimates), a)
        raise BenchError(f"{empty.label} has no result on {dataset}: {empty.missing()}")
    found = {(0, metric): difference(a, b, metric, stored) for metric in metrics}
    settled = [d for d in corrected(found).values() if isinstance(d, Difference)]
    specs = [{k: v for k, v in g.spec.items() if k not in ("variant", "dataset")} for g in groups]
    settings = differing(specs)
    texts = tuple(f"{key} {value} and {settings[1][key]}" for key, value in settings[0].items())
    return Comparison(dataset, a, b, tuple(settled), texts, tuple(problems))
