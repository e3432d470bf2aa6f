"""``diagnose`` from files and from the runs of an experiment; bad input is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from test_trackeval import wandering

from videomt_bench import cli
from videomt_bench.evaluation.score import score_ytvis
from videomt_bench.evaluation.ytvis_files import write_predictions


def write_truth(path: Path, truth) -> Path:
    annotations = [
        {
            "id": i + 1,
            "video_id": o.video_id,
            "category_id": o.category_id,
            "iscrowd": 0,
            "areas": None,
            "segmentations": o.segmentations,
        }
        for i, o in enumerate(truth.objects)
    ]
    data = {
        "videos": [asdict(video) for video in truth.videos.values()],
        "categories": [{"id": i, "name": name} for i, name in truth.categories.items()],
        "annotations": annotations,
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    """Truth, and two result files."""
    truth, predictions = wandering(np.random.default_rng(0))
    write_predictions(tmp_path / "a.json", predictions)
    write_predictions(tmp_path / "b.json", predictions[::2])
    return write_truth(tmp_path / "gt.json", truth), tmp_path / "a.json", tmp_path / "b.json"


@pytest.fixture
def run(monkeypatch, capsys):
    """Call ``diagnose``; returns (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["videomt-bench", "diagnose", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


def test_from_files(run, files, tmp_path):
    truth, a, b = files
    code, out, _ = run(
        *("--truth", truth, "--predictions", f"first={a}", "--predictions", f"both={a}"),
        *("--predictions", f"both={b}", "--out", tmp_path / "out", "--draws", 5, "--json"),
    )
    assert code == 0
    told = json.loads(out.splitlines()[-1])
    assert set(told["variants"]) == {"first", "both"}
    both = told["variants"]["both"]
    expected = [score_ytvis(truth, path).metrics["AP"].value for path in (a, b)]
    assert both["metrics"]["AP"]["per_seed"] == expected
    assert both["metrics"]["AP"]["value"] == pytest.approx(np.mean(expected))
    assert both["metrics"]["HOTA"]["low"] is not None
    assert all(Path(file).is_file() for file in told["files"])
    assert len(told["files"]) == 11
    assert "first" in out
    assert "HOTA" in out


@pytest.fixture
def no_figures(monkeypatch):
    """They take most of the time."""
    monkeypatch.setattr("videomt_bench.diagnostics.write.figures", lambda rows: {})


@pytest.mark.usefixtures("no_figures")
def test_the_options_reach_the_measures(run, files, tmp_path):
    values = []
    for options in ((), ("--score-threshold", 0.7), ("--overlaps", "resolve")):
        arguments = ("--truth", files[0], "--predictions", f"x={files[1]}", "--draws", 0)
        _, out, _ = run(*arguments, "--out", tmp_path / "out", "--json", *options)
        metrics = json.loads(out.splitlines()[-1])["variants"]["x"]["metrics"]
        values.append((metrics["HOTA"]["value"], metrics["AP"]["value"]))
    hota, ap = zip(*values, strict=True)
    assert len(set(hota)) == 3
    assert len(set(ap)) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give an experiment, or --truth with one or more --predictions NAME=FILE"),
        (("--truth", "GT"), "give an experiment, or --truth with"),
        (("demo", "--truth", "GT"), "give an experiment, or --truth with"),
        (("--truth", "GT", "--predictions", "A"), "is not of the form NAME=results.json"),
        (("--truth", "GT", "--predictions", "x=missing.json"), "cannot read missing.json"),
        (("--truth", "GT", "--predictions", "x=GT"), "a result file is a JSON list"),
        (("--truth", "A", "--predictions", "x=A"), "a truth file is a JSON object"),
        (
            ("--truth", "GT", "--predictions", "x=A", "--score-threshold", "nan"),
            "the score threshold is nan",
        ),
        (
            ("--truth", "GT", "--predictions", "x=A", "--overlaps", "drop"),
            "unknown treatment of overlaps 'drop'; valid: keep, resolve",
        ),
        (("demoo",), "unknown experiment 'demoo'; did you mean 'demo'"),
    ],
)
def test_bad_input(run, files, arguments, sentence):
    truth, a, _ = files
    names = {"GT": str(truth), "A": str(a)}
    given = [
        argument.replace("x=A", f"x={a}").replace("x=GT", f"x={truth}")
        if argument.startswith("x=")
        else names.get(argument, argument)
        for argument in arguments
    ]
    code, _, err = run(*given)
    assert code == 2
    assert "Traceback" not in err
    assert sentence in " ".join(err.split())


def test_no_torch():
    """Neither for the help nor for what files need."""
    script = (
        "import sys; sys.argv=['videomt-bench','diagnose','--help']\n"
        "from videomt_bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch','timm','pandas','mmengine','scipy','matplotlib'} & set(sys.modules)\n"
        "import videomt_bench.diagnostics.write, videomt_bench.diagnostics.diagnose\n"
        "import videomt_bench.diagnostics.summary\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.usefixtures("no_figures")
def test_from_the_runs_of_an_experiment(run, micro, tmp_path):
    """Every run that was evaluated is found by its variant; seeds belong together."""
    from conftest import as_arguments

    from videomt_bench.runs.predictions import instance_files
    from videomt_bench.runs.stages import prepare_data
    from videomt_bench.runs.store import Store
    from videomt_bench.sweep.experiment import load_experiment

    settings = {**micro, "variants": ["step5_propagation", "step6_videomt"], "seeds": [1, 2]}
    runs = load_experiment("demo", settings).runs()
    prepare_data(runs[0].dataset)
    truth, predictions = Path(runs[0].dataset.root) / "valid.json", []
    store = Store(tmp_path / "results")
    for spec in runs[:-1]:  # the last one is not evaluated
        write_predictions(store.stage(spec.run_id).path / "results.json", predictions)
    (found,) = instance_files(runs, store)
    assert found.truth == truth
    assert [len(files) for files in found.predictions.values()] == [2, 1]
    assert found.missing == (runs[-1].run_id,)
    arguments = ("--results", tmp_path / "results", "--out", tmp_path / "out", "--draws", 0)
    code, out, err = run("demo", *arguments, *as_arguments(settings), "--json")
    assert code == 0
    told = json.loads(out.splitlines()[-1])["micro"]["variants"]
    assert [row["seeds"] for row in told.values()] == [2, 1]
    assert runs[-1].run_id in "".join(err.split())
    assert (tmp_path / "out" / "micro" / "diagnostics.md").is_file()
    code, _, err = run("demo", "--results", tmp_path / "nothing", *as_arguments(settings))
    assert code == 2
    assert "none of the 4 runs has predictions" in " ".join(err.split())
