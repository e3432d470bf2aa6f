"""Where the predictions lie that the evaluate stage has kept: in the work folder of each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videomt_bench.data.layouts import locate
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.tasks import RESULT_FILE
from videomt_bench.models import load_variant
from videomt_bench.runs.spec import DatasetSpec, RunSpec
from videomt_bench.runs.stages import MAKERS
from videomt_bench.runs.store import Store


@dataclass(frozen=True)
class InstanceFiles:
    """The result files of the runs on one data set, by row and seed, and the truth."""

    dataset: str
    truth: Path
    predictions: dict[str, list[Path]]
    """By label; one file per seed."""
    missing: tuple[str, ...]
    """Runs without predictions."""


def instance_files(runs: Sequence[RunSpec], store: Store) -> list[InstanceFiles]:
    """The predictions of evaluated runs, by data set; data sets without any are left out.

    Raises:
        BenchError: there are none at all, or a data set has no instances.
    """
    datasets = {run.dataset.name: run.dataset for run in runs}
    several = len({run.encoder.name for run in runs}) > 1
    found = []
    for dataset in datasets.values():
        files: dict[str, list[Path]] = {}
        missing = []
        for run in sorted((r for r in runs if r.dataset == dataset), key=lambda r: r.seed):
            path = store.stage(run.run_id).path / RESULT_FILE
            title = load_variant(run.variant).title
            label = f"{title}, {run.encoder.name}" if several else title
            if path.is_file():
                files.setdefault(label, []).append(path)
            else:
                missing.append(run.run_id)
        if files:
            found.append(InstanceFiles(dataset.name, _truth(dataset), files, tuple(missing)))
    if not found:
        raise BenchError(
            f"none of the {len(runs)} runs has predictions in {store.root}; evaluate them first"
        )
    return found


def _truth(dataset: DatasetSpec) -> Path:
    if dataset.layout in MAKERS:
        raise BenchError(
            f"data set {dataset.name!r} has the layout {dataset.layout!r}; "
            "diagnostics are for instances, in the layouts of YouTube-VIS and OVIS"
        )
    return locate(dataset.layout, Path(dataset.root), dataset.test_split).annotations
