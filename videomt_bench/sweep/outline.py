"""What a report needs to know of an experiment: its rows, and where their numbers were published.

Read from the plain settings, so that a report needs neither torch nor the experiment's parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from videomt_bench.errors import BenchError, unknown
from videomt_bench.sweep.experiment_file import read_settings
from videomt_bench.sweep.named import LIKE
from videomt_bench.variant_files import variant_titles

Settings = Mapping[str, Any]


def load_outline(
    name_or_file: str,
    overrides: Settings | None = None,
    datasets: Sequence[str] = (),
) -> dict[str, Any]:
    """The outline of an experiment by name or file, or of some of its data sets.

    Raises:
        BenchError: no such experiment or data set, or settings that no table can be made of.
    """
    name, settings = read_settings(name_or_file, overrides)
    try:
        found = outline(name, settings)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BenchError(
            f"the experiment {name} has no rows: {type(error).__name__} {error}"
        ) from None
    for dataset in datasets:
        if dataset not in found["datasets"]:
            raise unknown(f"data set of {name}", dataset, found["datasets"])
    if datasets:
        found["datasets"] = [d for d in found["datasets"] if d in datasets]
    return found


def outline(name: str, settings: Settings) -> dict[str, Any]:
    """Name, title, published table, caption, rows and data sets; see ``report.table``.

    Every row of the grid is there, also those of variants and data sets that do not exist yet,
    which have the ``reason``.
    """
    planned = settings.get("planned_datasets") or {}
    places = [(d["name"], "") for d in settings["datasets"]]
    places += [
        (dataset, f"the data set is not part yet: {' '.join(str(why).split())}")
        for dataset, why in planned.items()
    ]
    titles = variant_titles()
    rows = [
        row
        for dataset, reason in places
        for variant, encoder, recipe in _cells(settings, dataset)
        for row in [_row(settings, titles, variant, encoder, recipe, dataset, reason)]
    ]
    return {
        "name": name,
        "title": settings["title"],
        "published": settings.get("published"),
        "caption": settings.get("caption") or "",
        "figures": list(settings.get("figures") or ()),
        "others": bool(settings.get("others")),
        "rows": [row for i, row in enumerate(rows) if row not in rows[:i]],
        "datasets": [dataset for dataset, _ in places],
    }


def _cells(settings: Settings, dataset: str) -> Iterator[tuple[str, str, str]]:
    """Variant, encoder and recipe of every row of a data set, an encoder's rows together."""
    for encoder in [e["name"] for e in settings["encoders"]]:
        for variant in settings["variants"]:
            changes = _changes(settings, variant)
            there = dataset in changes.get("on", (dataset,))
            if there and encoder in changes.get("only", (encoder,)):
                for recipe in settings.get("recipes") or ("",):
                    yield variant, encoder, recipe


def _row(
    settings: Settings,
    titles: Mapping[str, str],
    variant: str,
    encoder: str,
    recipe: str,
    dataset: str,
    reason: str,
) -> dict[str, Any]:
    changes = _changes(settings, variant)
    size = dict((settings.get("sizes") or {}).get(encoder, {}))
    label = titles.get(variant, variant) + (f", {size['label']}" if size.get("label") else "")
    own = changes.get("encoders", {}).get(encoder, {}).get("name", encoder)
    row: dict[str, Any] = {"variant": variant, "label": label, "encoder": own}
    if recipe:
        several = len(settings["variants"]) > 1
        row |= {
            "label": f"{label}, {recipe}" if several else recipe,
            "recipe": recipe,
            "settings": {
                "name" if key == LIKE else key: value
                for key, value in settings["recipes"][recipe].items()
            },
        }
    if len(settings["encoders"]) > 1 or settings.get("sizes"):
        row |= {"size": size.pop("label", encoder), **size}
    row |= {key: changes[key] for key in ("published", "weights") if key in changes}
    if "on" in changes:
        row["dataset"] = dataset
    if "{dataset}" in row.get("setting", ""):
        own = (settings.get("dataset_changes") or {}).get(dataset, {})
        setting = row["setting"].replace("{dataset}", own.get("title", dataset))
        row |= {"setting": setting, "dataset": dataset}
    if variant not in titles:
        reason = "the variant does not exist yet"
    if reason:
        row |= {"reason": reason, "dataset": dataset}
    return row


def _changes(settings: Settings, variant: str) -> Settings:
    return (settings.get("changes") or {}).get(variant, {})
