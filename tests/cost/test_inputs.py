"""Costs over a list of frame sizes: the mean of separate counts, each size counted once."""

from __future__ import annotations

import json

import pytest

from videomt_bench.cost import measure
from videomt_bench.cost.inputs import Size, measure_inputs, one_of, read_sizes
from videomt_bench.cost.measure import measure_cost
from videomt_bench.errors import BenchError
from videomt_bench.models.memories import QueryPropagation
from videomt_bench.models.variant import SlotSizes

SIZES = [Size(64, 96, 3), Size(48, 64, 1), Size(96, 96, 2)]
COUNT = {"time": False, "device": "cpu"}


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "sizes.txt").write_text(text, encoding="utf-8")
        return tmp_path / "sizes.txt"

    return write


def test_lines_of_a_file(written):
    file = written("448x800\n\n# a comment\n448X608 3  # 4:3\n  448x800\t2\n480x864 1\n")
    sizes = read_sizes(file)
    assert [(s.height, s.width, s.count) for s in sizes] == [
        (448, 800, 3),
        (448, 608, 3),
        (480, 864, 1),
    ]
    assert sizes[1].where == f"{file}, line 4: "


@pytest.mark.parametrize(
    "line",
    [
        "448",
        "448x",
        "448x800x3",
        "448x800 x",
        "448x800 0",
        "800 448",
        "0x800",
        "a b",
        "448x800 1 2",
    ],
)
def test_bad_lines_are_named(written, line):
    file = written(f"448x800\n{line}\n")
    with pytest.raises(BenchError, match="line 2") as error:
        read_sizes(file)
    assert str(file) in str(error.value)
    assert line in str(error.value)


def test_files_without_sizes_are_refused(written, tmp_path):
    with pytest.raises(BenchError, match="no frame size"):
        read_sizes(written("\n# nothing\n"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="UTF-8"):
        read_sizes(tmp_path / "binary")


def test_exactly_one_source_of_sizes(written):
    assert one_of((4, 8), None) == [Size(4, 8)]
    assert one_of(None, written("4x8"))[0].width == 8
    for size, file in [(None, None), ((4, 8), written("4x8"))]:
        with pytest.raises(BenchError, match="--input HxW and --inputs FILE"):
            one_of(size, file)


def test_the_mean_is_that_of_separate_counts(videomt):
    model = videomt("vit_tiny_conv_patch8", 7)
    mean = measure_inputs(model, SIZES, **COUNT)
    single = [measure_cost(model, s.height, s.width, **COUNT) for s in SIZES]

    def expected(pick):
        return sum(pick(c) * s.count for c, s in zip(single, SIZES, strict=True)) / 6

    exact = {"rel": 1e-9, "abs": 0}
    assert mean["gmacs"] == pytest.approx(expected(lambda c: c["gmacs"]), **exact)
    assert mean["gflops"] == pytest.approx(expected(lambda c: c["gflops"]), **exact)
    for name, values in mean["components"].items():
        gmacs = expected(lambda c, name=name: c["components"][name]["gmacs"])
        assert values["gmacs"] == pytest.approx(gmacs, **exact)
        assert values["params"] == single[0]["components"][name]["params"]
        assert values["milliseconds"] is None
    assert list(mean["components"]) == list(single[0]["components"])
    assert sum(mean["by_operator"].values()) == pytest.approx(mean["gmacs"], **exact)
    assert mean["params"] == single[0]["params"]
    assert mean["fps"] == {"model": None, "end_to_end": None}
    assert mean["protocol"]["inputs"] == [[64, 96, 3], [48, 64, 1], [96, 96, 2]]
    assert mean["protocol"]["input"] == "3 of 64x96, 1 of 48x64, 2 of 96x96"
    assert json.loads(json.dumps(mean, allow_nan=False)) == mean


def test_times_are_averaged_over_frames(toy, monkeypatch):
    """Frames of 10 ms and of 40 ms, three to one."""

    def time(cost, model, camera, *_):
        ms = {24: 10.0, 8: 40.0}[camera.padded[1]]
        for clock in cost["fps"]:
            cost["fps"][clock] = 1000 / ms
            cost["milliseconds"][clock] = {"mean": ms, "median": ms}
        cost["peak_memory_mib"] = ms
        return {"other": ms, "memory": 0.0}

    monkeypatch.setattr(measure, "_time", time)
    cost = measure_inputs(toy(), [Size(16, 24, 3), Size(16, 8)], device="cpu", count=False)
    assert cost["milliseconds"]["model"] == {"mean": 17.5, "median": None}
    assert cost["fps"]["end_to_end"] == pytest.approx(1000 / 17.5)
    assert cost["components"]["other"]["milliseconds"] == 17.5
    assert cost["components"]["other"]["gmacs"] is None
    assert cost["peak_memory_mib"] == 40


def test_a_component_that_works_at_some_sizes_only(toy):
    class Sometimes(QueryPropagation):
        component = "tracker"

        def update(self, state, output):
            return state @ state.mT @ state if output.mask_logits.shape[-1] > 2 else state

    model = toy(memory=Sometimes(SlotSizes(5, 8, 3)))
    model.memory.learned.component = "other"
    cost = measure_inputs(model, [Size(16, 24), Size(16, 8, 3)], **COUNT)
    assert cost["components"]["tracker"]["gmacs"] * 1e9 == pytest.approx(2 * 5 * 5 * 8 / 4)
    assert cost["components"]["tracker"]["params"] == 0


def test_every_size_is_counted_once(toy, written, monkeypatch):
    counted = []
    count = measure.count_macs
    monkeypatch.setattr(
        measure,
        "count_macs",
        lambda model, h, w, length: counted.append((h, w)) or count(model, h, w, length),
    )
    measure_inputs(toy(), read_sizes(written("16x24 5\n16x8\n16x24\n16x8 9")), **COUNT)
    assert counted == [(16, 24), (16, 8)]


def test_a_single_size_is_what_it_was(toy, written):
    plain = measure_cost(toy(), 16, 24, **COUNT)
    assert measure_inputs(toy(), [Size(16, 24)], **COUNT) == plain
    listed = measure_inputs(toy(), read_sizes(written("16x24 4")), **COUNT)
    assert listed["protocol"].pop("inputs") == [[16, 24, 4]]
    assert listed == plain


def test_a_size_that_the_model_does_not_take_is_named_before_anything_is_counted(
    toy, written, monkeypatch
):
    monkeypatch.setattr(measure, "count_macs", None)
    file = written("16x24\n16x26")
    with pytest.raises(BenchError, match="multiples of 4") as error:
        measure_inputs(toy(), read_sizes(file), **COUNT)
    assert str(error.value).startswith(f"{file}, line 2: input 16x26")
