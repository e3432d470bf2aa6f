"""The tables of docs/recipes.md from the recipes themselves; as a script, it writes them there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from videomt_bench.runs.config import build
from videomt_bench.runs.spec import DatasetSpec, Recipe, StageSettings
from videomt_bench.sweep import named

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
FAMILIES = ("videomt", "cavis", "dvis", "dvis_plus", "dvis_daq")
DATASETS = ("ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis", "vipseg", "vspw")
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def recipe(name: str, dataset: str) -> Recipe:
    return build(Recipe, named.named_recipe(name, dataset), name)


def dataset(name: str) -> DatasetSpec:
    return build(DatasetSpec, named.named_dataset(name), name)


def tables() -> dict[str, str]:
    """Mark in the page -> table."""
    return {"families": _families(), "names": _names()}


def _families() -> str:
    head = ["recipe", "data", "images", "clips", "rates", "train sides", "test side", "kept"]
    rows = [
        [
            f"`{name}`",
            ", ".join(f"`{d}`" for d in group),
            _stage(found.segmenter),
            _stage(found.video),
            _rates(found),
            _sides(found),
            str(found.test.short_side),
            "0.8 / 0.8"
            if "vipseg" in group
            else "all"
            if "vspw" in group
            else f"top {found.test.top_k}",
        ]
        for name in FAMILIES
        for group in _groups(name)
        for found in [recipe(name, group[0])]
    ]
    return _table(head, rows)


def _groups(name: str) -> list[list[str]]:
    """The data sets, those with one and the same recipe together."""
    groups: list[list[str]] = []
    for d in DATASETS:
        same = [g for g in groups if recipe(name, g[0]) == recipe(name, d) and g[0] != "vipseg"]
        if same:
            same[0].append(d)
        else:
            groups.append([d])
    return groups


def _stage(stage: StageSettings) -> str:
    train = stage.train
    near = "" if stage.span is None else f" within ±{stage.span}"
    own = train.tracks
    first = "" if own is None else f", of {own.short_frames} for {own.short_iterations // 1000}k"
    return f"{train.iterations // 1000}k × {train.batch} clips of {stage.frames}{near}{first}"


def _rates(found: Recipe) -> str:
    text = []
    for stage in (found.segmenter, found.video):
        optim = stage.train.optim
        steps = [f"{round(m * stage.train.iterations) / 1000:g}k" for m in optim.milestones]
        lr = f"{optim.lr:.0e}".replace("e-0", "e-")
        text.append(lr + (f", steps at {' and '.join(steps)}" if steps else ""))
    return text[0] if text[0] == text[1] else "; ".join(text)


def _sides(found: Recipe) -> str:
    own = found.video.augmentation
    assert own.short_sides
    crop = ", crop" if own.crop else ""
    return f"{min(own.short_sides)} to {max(own.short_sides)}, at most {own.max_size}{crop}"


def _names() -> str:
    rows = []
    for name in named.recipe_names():
        own = named._line(name)[-1]
        changes = [f"`{k}={v}`" for k, v in _leaves(own.get("recipe", {}))]
        for key, change in own.get("datasets", {}).items():
            changes += [f"{key}: `{k}={v}`" for k, v in _leaves(change)]
        if name in FAMILIES:
            changes = ["see above"]
        like = f"`{own[named.LIKE]}`" if named.LIKE in own else ""
        rows.append([f"`{name}`", own["about"], like, ", ".join(changes)])
    return _table(["name", "what", "like", "changes"], rows)


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(text: str) -> str:
    """The page with its tables as the recipes have them."""
    made = tables()
    return MARKED.sub(lambda m: f"{m[1]}\n{made[m[2]]}\n{m[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
