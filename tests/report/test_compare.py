"""Two variants side by side, as a library and from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from videomt_bench.errors import BenchError
from videomt_bench.files import write_json
from videomt_bench.report import stored
from videomt_bench.report.compare import compare
from videomt_bench.report.statistics.permutation import swap_test
from videomt_bench.report.statistics.resampling import Ratios, load_resampler

from .conftest import Save, made_up_stats, metrics_of
from .made_up import instance_stats, panoptic_stats, semantic_stats
from .made_up_worlds import mean_ratio

A, B = "step5_propagation", "step6_videomt"


@pytest.fixture(autouse=True)
def few_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored.StoredRuns.__init__, "__defaults__", (40, 99, None))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "videomt_bench", "report", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def ratio_run(values: np.ndarray) -> Ratios:
    table = np.stack([values, np.ones(len(values))], 1)
    return Ratios(tuple(map(str, range(len(values)))), table, mean_ratio, b"")


def test_swaps_are_all_the_ways_to_rename_the_variants():
    """Six videos have 64 of them; the exact p of the mean difference is a count over these."""
    a = np.array([5.0, 7, 6, 9, 4, 8])
    b = np.array([4.0, 4, 6.5, 5, 3.5, 4])
    d = a - b
    signs = np.array([[1 - 2 * (i >> k & 1) for k in range(6)] for i in range(64)])
    exact = np.mean(abs(signs @ d) >= abs(d.sum()) - 1e-9)
    found = swap_test([ratio_run(a)], [ratio_run(b)], swaps=20_000)["value"]
    assert found == pytest.approx(exact, abs=0.01)
    assert swap_test([ratio_run(a)], [ratio_run(a)], swaps=50)["value"] == 1.0


@pytest.mark.parametrize("make", [instance_stats, panoptic_stats, semantic_stats])
def test_swapping_nothing_gives_the_observed_difference(tmp_path: Path, make):
    """And swapping everything its negative, for the metrics of every task."""
    stats = make(np.random.default_rng(1))
    stats.save(tmp_path / "a.npz")
    run_a = load_resampler(tmp_path / "a.npz")
    videos = len(run_a.videos)
    both = run_a.beside(run_a)
    none, every = np.zeros((1, videos), int), np.ones((1, videos), int)
    for name, values in run_a.scores(every).items():
        first = both.scores(np.hstack([every - none, none]))[name]
        assert first == pytest.approx(values, nan_ok=True, abs=1e-9)


def test_the_comparison_has_the_numbers_of_the_records(results: Path, save: Save):
    records = {v: [save(v, s, rate) for s in (1, 2)] for v, rate in ((A, 0.3), (B, 0.7))}
    save(A, 3, 0.3)
    (found,) = compare(results, A, B)
    means = {v: np.mean([100 * (r.metrics["AP"].value or 0) for r in records[v]]) for v in (A, B)}
    first = found.to_json()["metrics"][0]
    assert first["metric"] == "AP"
    assert first["a"] == pytest.approx(means[A])
    assert first["b"] == pytest.approx(means[B])
    assert first["difference"] == pytest.approx(means[A] - means[B])
    assert first["seeds"] == [1, 2]
    assert first["videos"] == 12
    assert first["interval"][0] < first["difference"] < first["interval"][1]
    assert first["p"] >= first["p_videos"]
    assert first["p_corrected"] >= first["p"]
    assert {"AP50", "AR10", "recall_late"} < {m["metric"] for m in found.to_json()["metrics"]}
    (one,) = compare(results, records[A][0].run_id, B)
    assert one.to_json()["metrics"][0]["seeds"] == [1]


def test_one_table_for_each_data_set_of_both(results: Path, save: Save):
    for scene in ("slots", "crossing"):
        for variant in (A, B):
            dataset = {"name": f"generated-{scene}", "root": "x"}
            save(variant, 1, spec={"dataset": dataset}, run_id=f"{variant}-{scene}")
    assert [c.dataset for c in compare(results, A, B)] == ["generated-crossing", "generated-slots"]
    (only,) = compare(results, A, B, "generated-slots")
    assert only.dataset == "generated-slots"
    with pytest.raises(BenchError, match="unknown data set"):
        compare(results, A, B, "generated-slot")


def test_a_setting_of_several_has_to_be_named(results: Path, save: Save):
    save(A, 1)
    save(B, 1, 0.4)
    longer = {"recipe": {"name": "tiny", "video": {"train": {"iterations": 9, "workers": 0}}}}
    save(B, 1, 0.8, spec=longer, run_id="longer")
    with pytest.raises(BenchError, match=r"2 settings .* step6_videomt#1 \(.*iterations 1000"):
        compare(results, A, B)
    (found,) = compare(results, A, f"{B}#2")
    assert any("iterations 1000 and 9" in text for text in found.settings)
    assert found.to_json()["b"]["runs"] == ["longer"]


def test_what_cannot_be_compared_is_one_sentence(results: Path, save: Save):
    save(A, 1)
    save(B, 2)
    save("other", 1, spec={"dataset": {"name": "elsewhere", "root": "x"}})
    save("lost", 1, state="failed", reason="disk full")
    save("bare", 1, video_stats=None)
    record = save("fewer", 1)
    stats = made_up_stats(0.5, 1, videos=9)
    stats.save(results / "records" / f"{record.run_id}.npz")
    record.metrics = metrics_of(stats)
    write_json(results / "records" / f"{record.run_id}.json", record.to_json())
    for name, sentence in {
        "step6_videmt": "did you mean 'step6_videomt'",
        B: "no pair of runs on the same seeds",
        "other": "nothing in common",
        "lost": "disk full",
        "bare": "no per-video statistics",
        "fewer": "different videos, 12 and 9",
    }.items():
        with pytest.raises(BenchError, match=sentence):
            compare(results, A, name)


def test_the_command_prints_a_table_and_json(results: Path, save: Save):
    for variant, rate in ((A, 0.3), (B, 0.7)):
        save(variant, 1, rate)
    done = run("compare", A, B, "--results", str(results), "--json")
    assert done.returncode == 0, done.stderr
    assert "A = step5_propagation, B = step6_videomt" in done.stdout
    assert "one seed" in done.stdout
    (comparison,) = json.loads(done.stdout.splitlines()[-1])["comparisons"]
    assert comparison["metrics"][0]["p"] == comparison["metrics"][0]["p_videos"]
    wrong = run("compare", A, "nobody", "--results", str(results))
    assert wrong.returncode == 2
    assert "unknown variant or run 'nobody'" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    missing = run("compare", A, B, "--results", str(results / "nowhere"))
    assert missing.returncode == 2
