"""The three tasks from data to record: the same model, the same stages, other metrics."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.panoptic import summarize as summarize_panoptic
from videomt_bench.evaluation.panoptic_stats import PanopticStats
from videomt_bench.evaluation.semantic import summarize as summarize_semantic
from videomt_bench.evaluation.semantic_stats import SemanticStats
from videomt_bench.runs import stages
from videomt_bench.runs.execute import execute
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import load_experiment

TASKS = {
    "vipseg": (8, PanopticStats, summarize_panoptic, {"VPQ", "VPQ1_thing", "STQ", "AQ", "SQ"}),
    "vspw": (124, SemanticStats, summarize_semantic, {"mIoU", "pixel_accuracy", "mVC8", "mVC16"}),
}


@pytest.mark.parametrize("layout", TASKS)
def test_a_dense_task(layout: str, micro: dict[str, Any], tmp_path: Path) -> None:
    classes, stats, summarize, names = TASKS[layout]
    common = dict(frames=10, height=48, width=64, seed=7)
    micro["datasets"][0] |= dict(
        layout=layout,
        num_classes=classes,
        test_split="val",
        generate=[
            dict(split="train", videos=3, **common),
            dict(split="val", videos=2, **common),
        ],
    )
    (spec,) = (r for r in load_experiment("demo", micro).runs() if r.variant == "step6_videomt")
    assert isinstance(spec, RunSpec)
    stages.prepare_data(spec.dataset)
    record = execute(spec, tmp_path / "results", ("segmenter", "video", "evaluate"))
    assert record.reason is None, record.reason
    assert names <= set(record.metrics)
    store = Store(tmp_path / "results")
    kept = summarize(stats.load(store.stats_path(spec.run_id)))
    assert {n: m.value for n, m in record.metrics.items()} == kept
    written = list((store.stage(spec.run_id).path / "predictions").rglob("*.png"))
    assert len(written) == 20
    with Image.open(written[0]) as image:
        assert image.size == (64, 48)
        assert image.mode == ("RGB" if layout == "vipseg" else "L")
        assert np.asarray(image).max() < 124
    packed = stages.submission(spec, store, tmp_path / "out.zip")
    names = zipfile.ZipFile(packed).namelist()
    assert sum(name.endswith(".png") for name in names) == 20
    assert ("pred.json" in names) == (layout == "vipseg")
    written[0].unlink()
    with pytest.raises(BenchError, match=written[0].name):
        stages.submission(spec, store, tmp_path / "incomplete.zip")
    assert not (tmp_path / "incomplete.zip").exists()


def test_instances_without_truth(micro: dict[str, Any], tmp_path: Path) -> None:
    """A released validation file has no annotations: predictions and a zip, no metrics."""
    (spec,) = (r for r in load_experiment("demo", micro).runs() if r.variant == "step6_videomt")
    stages.prepare_data(spec.dataset)
    file = Path(spec.dataset.root) / "valid.json"
    data = json.loads(file.read_text())
    del data["annotations"]
    file.write_text(json.dumps(data))
    store = Store(tmp_path / "results")
    record = execute(spec, store.root, ("segmenter", "video", "evaluate"))
    assert record.reason is None
    assert record.metrics == {}
    assert record.video_stats is None
    packed = stages.submission(spec, store, tmp_path / "out.zip")
    with zipfile.ZipFile(packed) as archive:
        results = json.loads(archive.read("results.json"))
    assert {entry["video_id"] for entry in results} == {v["id"] for v in data["videos"]}
    results = [entry for entry in results if entry["video_id"] != 2]
    (store.stage(spec.run_id).path / "results.json").write_text(json.dumps(results))
    with pytest.raises(BenchError, match="no prediction for 1 videos: 2"):
        stages.submission(spec, store, tmp_path / "out.zip")
