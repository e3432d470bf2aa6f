"""The mmengine metrics of dense tasks: what two processes gather is what one scorer reads."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videomt_bench.data.generate import GeneratorSettings
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.generate_semantic import make_vspw
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.mmengine_dense import VideoPanoptic, VideoSemantic
from videomt_bench.evaluation.mmengine_metric import PerVideoMetric
from videomt_bench.evaluation.panoptic import score_vipseg
from videomt_bench.evaluation.semantic import score_vspw

SETTINGS = GeneratorSettings(videos=3, frames=20, height=32, width=48, split="val")


def _gathered(metrics: list[PerVideoMetric], shares: list[list[dict[str, object]]]) -> dict:
    """What processes with these shares of the videos gather; one video is in two shares."""
    results = []
    for metric, samples in zip(metrics, shares, strict=True):
        metric.process(None, samples)
        results += pickle.loads(pickle.dumps(metric.results))
    return metrics[0].compute_metrics(results)


def test_panoptic(tmp_path: Path) -> None:
    truth_json = make_vipseg(tmp_path / "truth", SETTINGS)
    truth_dir = tmp_path / "truth" / "panomasksRGB"
    data = json.loads(truth_json.read_text())
    names = [video["video_id"] for video in data["videos"]]
    whole = {"annotations": []}
    for shift, video in enumerate(data["annotations"]):
        alone = {"video_id": video["video_id"], "annotations": video["annotations"]}
        for frame in alone["annotations"]:
            name = Path(frame["file_name"]).stem + ".png"
            with Image.open(truth_dir / video["video_id"] / name) as image:
                pixels = np.roll(np.asarray(image), 3 * shift, axis=1)
            for root in ("all", video["video_id"]):
                file = tmp_path / root / "pan_pred" / video["video_id"] / name
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
        whole["annotations"].append(alone)
        one = {"annotations": [alone]}
        (tmp_path / video["video_id"] / "pred.json").write_text(json.dumps(one))
    (tmp_path / "all" / "pred.json").write_text(json.dumps(whole))
    samples = [{"video_id": n, "predictions": tmp_path / n} for n in names]
    metrics = [VideoPanoptic(truth_json, truth_dir) for _ in range(2)]
    found = _gathered(metrics, [samples[:2], samples[1:]])
    expected = score_vipseg(truth_json, truth_dir, tmp_path / "all").metrics
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 < found["VPQ"] < 1
    with pytest.raises(BenchError, match="1 videos have no predictions"):
        metrics[0].compute_metrics(metrics[0].results)
    with pytest.raises(BenchError, match="unknown video 'nowhere'"):
        metrics[0].process(None, [{"video_id": "nowhere", "predictions": tmp_path}])


def test_semantic(tmp_path: Path) -> None:
    make_vspw(tmp_path / "truth", SETTINGS)
    names = (tmp_path / "truth" / "val.txt").read_text().split()
    for shift, name in enumerate(names):
        for mask in (tmp_path / "truth" / "data" / name / "mask").glob("*.png"):
            with Image.open(mask) as image:
                classes = np.roll(np.asarray(image).astype(int), 3 * shift, axis=1)
            file = tmp_path / "predictions" / name / mask.name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(classes - 1, 0, 123).astype(np.uint8)).save(file)
    samples = [{"video_id": n, "predictions": tmp_path / "predictions"} for n in names]
    metrics = [VideoSemantic(tmp_path / "truth") for _ in range(2)]
    found = _gathered(metrics, [samples[:2], samples[1:]])
    expected = score_vspw(tmp_path / "truth", tmp_path / "predictions").metrics
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 < found["mIoU"] < 1
    with pytest.raises(BenchError, match="1 videos have no predictions"):
        metrics[0].compute_metrics(metrics[0].results)
