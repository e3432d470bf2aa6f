"""What a report is told of an experiment, read without building any part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from videomt_bench.errors import BenchError
from videomt_bench.models import load_variant, variant_names
from videomt_bench.sweep.experiment import experiment_names, load_experiment
from videomt_bench.sweep.outline import load_outline
from videomt_bench.variant_files import variant_titles


def test_titles_are_those_of_the_loaded_variants():
    assert variant_titles() == {name: load_variant(name).title for name in variant_names()}


@pytest.mark.parametrize("name", experiment_names())
def test_the_outline_is_that_of_the_loaded_experiment(name: str):
    assert load_outline(name) == load_experiment(name).rows()


def test_a_file_that_hides_its_title_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "hidden.py").write_text("VARIANT = make('x' + 'y')\n")
    (tmp_path / "broken.py").write_text("VARIANT = (")
    (tmp_path / "named.py").write_text("VARIANT: object = Variant(memory=1, title='Named')\n")
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(tmp_path))
    titles = variant_titles()
    assert [titles[n] for n in ("hidden", "broken", "named")] == ["hidden", "broken", "Named"]


def test_some_data_sets_and_settings():
    chosen = load_outline("demo", {"title": "Other"}, ["generated-crossing"])
    assert (chosen["title"], chosen["datasets"]) == ("Other", ["generated-crossing"])
    with pytest.raises(BenchError, match="data set of demo 'crossing'"):
        load_outline("demo", None, ["crossing"])
    with pytest.raises(BenchError, match="did you mean 'demo'"):
        load_outline("demoo")


def test_a_file_without_rows_is_one_sentence(tmp_path: Path):
    (tmp_path / "odd.py").write_text("title = 'odd'\nvariants = ['x']\nencoders = [3]\n")
    with pytest.raises(BenchError, match="odd has no rows"):
        load_outline(str(tmp_path / "odd.py"))


def test_every_row_names_its_encoder() -> None:
    """Runs of another encoder in the same results folder are not of this table."""
    assert {row["encoder"] for row in load_outline("propagation")["rows"]} == {
        "vit_large_patch14_reg4_dinov2"
    }
