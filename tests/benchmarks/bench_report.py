"""Reports: all intervals of an ablation, and the time of a report of many records.

    python tests/benchmarks/bench_report.py

Not a test: it asserts nothing about time. The brute-force way evaluates one draw after the other;
it runs on a few draws of the same data in the same process, and the ratio is the number to keep.
"""

# ruff: noqa: E402  (the path and the thread count come before the imports)

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np

from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.video_ap import summarize
from videomt_bench.evaluation.video_stats import DIAGNOSTICS, VideoStats
from videomt_bench.files import write_json
from videomt_bench.report.statistics.estimates import video_draws
from videomt_bench.report.statistics.resampling import load_resampler
from videomt_bench.report.tables.table import build_report, cache_of
from videomt_bench.report.write import write_tables
from videomt_bench.runs.record import Metric, Record

ROWS = 7


def ablation_stats(rng, truth, per_video, quality) -> VideoStats:
    """``per_video`` detections in each video, scores without ties, about half of them matched."""
    videos, categories = truth.shape
    count = videos * per_video
    video = np.repeat(np.arange(videos), per_video)
    present = np.array([rng.choice(np.flatnonzero(row)) for row in truth[video]])
    category = np.where(rng.random(count) < 0.6, present, rng.integers(0, categories, count))
    score = rng.random(count)
    order = np.lexsort((video, -score, category))
    video, category, score = video[order], category[order], score[order]
    key = video * categories + category
    by_key = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[by_key]) > 0])
    rank = np.empty(count, np.int64)
    rank[by_key] = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    reach = rng.random((count, 1)) * quality * 2
    hit = (rank < truth[video, category])[:, None] & (reach > np.linspace(0.2, 1.0, 10))
    matched = np.repeat(hit[:, None], 4, 1)
    counts = np.repeat(truth.sum(1)[:, None], len(DIAGNOSTICS), 1)
    return VideoStats(
        video_ids=np.arange(1, videos + 1),
        category_ids=np.arange(1, categories + 1),
        category_names=np.array([f"class {c}" for c in range(categories)]),
        truth_counts=np.repeat(truth[:, :, None], 4, 2),
        video=video,
        category=category,
        rank=rank,
        score=score,
        matched=matched,
        ignored=np.zeros_like(matched),
        object_sums=rng.random(counts.shape) * counts,
        object_counts=counts,
    )


def spec(variant: str, seed: int) -> dict:
    common = dict(name="made_up", num_classes=40, root="nowhere", layout="ytvis_2019")
    train = dict(iterations=160000, batch=8, optim=dict(lr=1e-4, weight_decay=0.05))
    recipe = dict(name="made up", num_queries=200)
    for stage in ("segmenter", "video"):
        recipe[stage] = dict(frames=5, train=train)
    encoder = dict(name="vit_large_patch14_reg4_dinov2", weights="timm")
    return dict(variant=variant, encoder=encoder, dataset=common, recipe=recipe, seed=seed)


def save(results: Path, variant: str, seed: int, stats: VideoStats | None = None) -> None:
    run_id = f"{variant}-s{seed}"
    record = Record(run_id, spec(variant, seed), "completed", updated="2026-01-01T00:00:00+00:00")
    record.environment = {"python": "3.11", "packages": {f"package{i}": "1.0" for i in range(40)}}
    protocol = dict(device="NVIDIA H100", precision="fp16", compile="default", input=[448, 800])
    by_operator = {f"operator {i}": i * 1e9 for i in range(60)}
    fps = {"model": 160.0, "end_to_end": 90.0}
    record.cost = dict(params=3e8, gmacs=570.0, fps=fps, protocol=protocol, by_operator=by_operator)
    if stats is None:
        record.metrics = {n: Metric(0.5, 300) for n in ("AP", "AP50", "AP75", "AR10", *DIAGNOSTICS)}
    else:
        scores, objects = summarize(stats), summarize_objects(stats)
        record.metrics = {
            name: Metric(scores[name], len(stats.video_ids))
            for name in ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")
        }
        record.metrics |= {n: Metric(objects[n], int(objects[f"{n}_n"])) for n in DIAGNOSTICS}
        record.video_stats = f"{run_id}.npz"
        stats.save(results / "records" / record.video_stats)
    write_json(results / "records" / f"{run_id}.json", record.to_json())


def experiment(variants: list[str]) -> dict:
    rows = [{"variant": v, "label": v} for v in variants]
    return {"name": "bench", "title": "Benchmark", "rows": rows}


def intervals(folder: Path, args: argparse.Namespace) -> dict:
    """All intervals and p-values of an ablation, against brute force."""
    rng = np.random.default_rng(0)
    truth = np.zeros((args.videos, args.categories), np.int64)
    for row in truth:
        chosen = rng.choice(args.categories, rng.integers(1, 3), replace=False)
        row[chosen] = rng.integers(1, 4, len(chosen))
    variants = [f"step{i}" for i in range(ROWS)]
    for i, variant in enumerate(variants):
        for seed in range(args.seeds):
            stats = ablation_stats(rng, truth, args.per_video, 0.5 + 0.02 * i)
            save(folder, variant, seed, stats)
    files = sorted((folder / "records").glob("*.npz"))

    start = time.process_time()
    for file in files:
        run = load_resampler(file)
        run.scores(video_draws(len(run.videos), args.draws))
    vectorised = time.process_time() - start

    stats = VideoStats.load(files[0])
    times = video_draws(args.videos, args.brute)
    start = time.process_time()
    for line in times:
        positions = np.repeat(np.arange(args.videos), line)
        summarize(stats, positions)
        summarize_objects(stats, positions)
    brute = (time.process_time() - start) / args.brute * args.draws * len(files)

    cache = cache_of(folder / "out", experiment(variants))
    wall, cpu = time.perf_counter(), time.process_time()
    build_report(folder, experiment(variants), args.draws, cache=cache)
    first, first_cpu = time.perf_counter() - wall, time.process_time() - cpu
    start = time.perf_counter()
    build_report(folder, experiment(variants), args.draws, cache=cache)
    return {
        "detections of a run": len(stats),
        "intervals_cpu_s": vectorised,
        "brute_force_cpu_s": brute,
        "ratio": brute / vectorised,
        "report_with_p_values_s": first,
        "report_with_p_values_cpu_s": first_cpu,
        "report_from_cache_s": time.perf_counter() - start,
    }


def many_records(folder: Path, count: int, rows: int) -> dict:
    """A report of ``count`` records, all of its rows; with few rows it is also written."""
    variants = [f"variant{i}" for i in range(rows)]
    for i in range(count):
        save(folder, variants[i % rows], i // rows)
    size = sum(f.stat().st_size for f in (folder / "records").iterdir()) / count
    seconds = {}
    for name in ("first", "from_cache", "after_one_change"):
        if name == "after_one_change":
            save(folder, variants[0], 10**6)
        wall, cpu = time.perf_counter(), time.process_time()
        cache = cache_of(folder / "out", experiment(variants))
        report = build_report(folder, experiment(variants), cache=cache)
        if rows == ROWS:
            write_tables(report.tables, folder / "out", experiment(variants))
        seconds[f"{name}_s"] = time.perf_counter() - wall
        seconds[f"{name}_cpu_s"] = time.process_time() - cpu
    return {"records": count, "rows": rows, "bytes_per_record": int(size), **seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--categories", type=int, default=40)
    parser.add_argument("--per-video", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--brute", type=int, default=20, help="draws of the brute-force way")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--only", choices=("intervals", "records"))
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "records":
            found["intervals"] = intervals(Path(folder) / "a", args)
        if args.only != "intervals":
            found["records"] = many_records(Path(folder) / "b", args.records, ROWS)
            found["many_rows"] = many_records(Path(folder) / "c", args.records, 500)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
