"""Made-up records: every number is chosen here, none was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.video_ap import summarize
from videomt_bench.evaluation.video_stats import DIAGNOSTICS, VideoStats
from videomt_bench.files import write_json
from videomt_bench.runs.record import Metric, Record

EXPERIMENT: dict[str, Any] = {
    "name": "made-up",
    "title": "Made-up steps",
    "published": "ablation",
    "rows": [
        {"variant": "step4_frame_by_frame", "label": "4 frame by frame"},
        {"variant": "step5_propagation", "label": "5 + query propagation"},
        {"variant": "step6_videomt", "label": "6 + query fusion = VidEoMT"},
    ],
}
PROTOCOL = {
    "device": "cpu",
    "precision": "fp32",
    "compile": None,
    "input": [48, 48],
    "clock": ["model", "end_to_end"],
    "threads": 1,
}


def spec(variant: str, seed: int, scene: str = "slots", **changes: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "encoder": {"name": "vit_tiny", "image_size": 48},
        "dataset": {"name": f"generated-{scene}", "root": "runs/data", "num_classes": 4},
        "recipe": {"name": "tiny", "video": {"train": {"iterations": 1000, "workers": 0}}},
        "seed": seed,
        "device": "cpu",
        "threads": 1,
        "cost": {"input": [48, 48]},
        **changes,
    }


def made_up_stats(hit_rate: float, seed: int, videos: int = 12) -> VideoStats:
    """One class, two objects and three detections per video, found with ``hit_rate``."""
    rng = np.random.default_rng(seed)
    score = np.sort(rng.random(3 * videos))[::-1]
    video = rng.permutation(np.repeat(np.arange(videos), 3))
    rank = np.array([(video[:i] == v).sum() for i, v in enumerate(video)])
    # at most two of a video's detections match
    hit = (rng.random(len(video)) < hit_rate) & (rank < 2)
    matched = np.broadcast_to(hit[:, None, None], (len(video), 4, 10)).copy()
    return VideoStats(
        video_ids=np.arange(1, videos + 1),
        category_ids=np.array([1]),
        category_names=np.array(["thing"]),
        truth_counts=np.full((videos, 1, 4), 2),
        video=video,
        category=np.zeros(len(video), np.int64),
        rank=rank,
        score=score,
        matched=matched,
        ignored=np.zeros_like(matched),
        object_sums=rng.random((videos, len(DIAGNOSTICS))),
        object_counts=np.full((videos, len(DIAGNOSTICS)), 2),
    )


def metrics_of(stats: VideoStats) -> dict[str, Metric]:
    scores = {name: summarize(stats)[name] for name in ("AP", "AP50", "AR10")}
    metrics = {name: Metric(value, len(stats.video_ids)) for name, value in scores.items()}
    objects = summarize_objects(stats)
    for name in DIAGNOSTICS:
        metrics[name] = Metric(objects[name], int(objects[f"{name}_n"] or 0))
    return metrics


Save = Callable[..., Record]


BARE = {**EXPERIMENT, "figures": ["training"]}
"""There are no logs of training, so a report has no figures, which take most of its time."""


def saves_to(folder: Path) -> Save:
    """Writes records, with statistics beside them unless their state says that they failed."""

    def write(variant: str, seed: int, hit_rate: float = 0.5, **changes: Any) -> Record:
        spec_changes = changes.pop("spec", {})
        record_spec = spec(variant, seed, **spec_changes)
        run_id = changes.pop("run_id", f"{variant}-{record_spec['dataset']['name']}-s{seed}")
        record = Record(run_id, record_spec, changes.pop("state", "completed"))
        if record.state == "completed":
            stats = made_up_stats(hit_rate, seed)
            stats.save(folder / "results" / "records" / f"{run_id}.npz")
            record.metrics = metrics_of(stats)
            record.video_stats = f"{run_id}.npz"
            fps = {"model": 120.0, "end_to_end": 80.0}
            record.cost = {"params": 812_345, "gmacs": 0.0512, "fps": fps, "protocol": PROTOCOL}
        for name, value in changes.items():
            setattr(record, name, value)
        write_json(folder / "results" / "records" / f"{run_id}.json", record.to_json())
        return record

    return write


@pytest.fixture
def save(tmp_path: Path) -> Save:
    return saves_to(tmp_path)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "results" / "records").mkdir(parents=True, exist_ok=True)
    return tmp_path / "results"
