"""Whether a measured number and a published one are of the same setting, and their difference."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from videomt_bench.report.protocol import COST_METRICS, cost_cell, words
from videomt_bench.report.published import PublishedCell
from videomt_bench.report.rows import Row

SIZES = {"tiny": "T", "small": "S", "base": "B", "large": "L"}
TRAININGS = {
    "dinov3": "DINOv3",
    "dinov2": "DINOv2",
    "eva02": "EVA-02",
    "in21k": "IN-21K",
    "in1k": "IN-1K",
}
"""Part of an encoder's name -> the pre-training, as published tables call it; the first counts."""
DATASETS = {
    "ytvis_2019": "YouTube-VIS 2019",
    "ytvis_2021": "YouTube-VIS 2021",
    "ytvis_2022": "YouTube-VIS 2022",
    "ovis": "OVIS",
    "vipseg": "VIPSeg",
    "vspw": "VSPW",
}
"""Layout of the files -> the benchmark."""
TEST_SIZE = re.compile(r"at (?:its own test size, )?a short side of (\d+)")


def measured_setting(spec: Mapping[str, Any]) -> str:
    """Encoder, pre-training and data set of a run in the words of published tables."""
    encoder, dataset = str(spec["encoder"].get("name")), spec["dataset"]
    family = "Swin" if encoder.startswith("swin") else "ViT"
    sizes = (f"{family}-{title}" for part, title in SIZES.items() if f"_{part}_" in encoder)
    size = next(sizes, encoder)
    training = next((title for part, title in TRAININGS.items() if part in encoder), "")
    generated = bool(dataset.get("generate"))
    name = str(dataset.get("name"))
    benchmark = name if generated else DATASETS.get(str(dataset.get("layout")), name)
    return ", ".join(part for part in (size, training, benchmark) if part)


def to_published(row: Row, metric: str) -> float | str:
    """Measured minus published in the unit of the published cell, or why there is no difference.

    ``metric`` is named as in the published table, which both must have for the row.
    """
    cell = row.published[metric]
    if row.group is None:
        return row.missing()
    if (own := measured_setting(row.group.spec)) != cell.setting:
        return f"published for {cell.setting}, measured for {own}"
    return _cost(row, metric, cell) if metric in COST_METRICS else _result(row, metric, cell)


def _result(row: Row, metric: str, cell: PublishedCell) -> float | str:
    if metric not in row.estimates or row.group is None:
        return row.missing()
    if row.group.spec["encoder"].get("weights") is None:
        return "measured without pre-trained weights"
    side = row.group.spec["recipe"].get("test", {}).get("short_side")
    if (other := _test_size(cell)) is not None and side != other:
        return f"published at a short side of {other}, measured at {side}"
    return row.estimates[metric].mean - cell.value


def _cost(row: Row, metric: str, cell: PublishedCell) -> float | str:
    name, factor = COST_METRICS[metric]
    if (cost := cost_cell(row, name)) is None:
        return row.missing()
    protocol = json.loads(cost.protocol)
    size = protocol.get("input")
    if (other := _test_size(cell)) is not None and size and min(size) != other:
        return f"published at a short side of {other}, measured at {'×'.join(map(str, size))}"
    if metric == "fps" and not _is_published_clock(protocol):
        return (
            "published on NVIDIA H100, fp16, compiled; measured on "
            + ", ".join(words(protocol, ("device", "precision", "compile")))
        )  # fmt: skip
    return cost.value * factor - cell.value


def _test_size(cell: PublishedCell) -> int | None:
    """The short side that the published number was measured at, where its notes say so."""
    found = [match for note in cell.notes if (match := TEST_SIZE.search(note))]
    return int(found[0][1]) if found else None


def _is_published_clock(protocol: Mapping[str, Any]) -> bool:
    return (
        "H100" in str(protocol.get("device"))
        and protocol.get("precision") == "fp16"
        and protocol.get("compile") == "default"
    )
