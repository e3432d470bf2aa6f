"""The command `cost`: a breakdown, sizes from a file, several variants, a figure."""

from __future__ import annotations

import copy
import json
import sys

import pytest

from videomt_bench import cli
from videomt_bench.cost import count as counting
from videomt_bench.models.refiner import COUNTED_FRAMES
from videomt_bench.models.variant import SMALL_DECODERS

SMALL = ("--encoder", "vit_tiny_conv_patch8", "--patch", 8, "--grid", 64, "--queries", 6)


@pytest.fixture
def cost(monkeypatch, capsys):
    """Call the command; returns (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["videomt-bench", "cost", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


def last(out):
    return json.loads(out.splitlines()[-1])


def test_one_variant_is_a_flat_document_with_a_table(cost):
    code, out, _ = cost("--variant", "step6_videomt", *SMALL, "--input", "64x96", "--json")
    assert code == 0
    document = last(out)
    assert document["variant"] == "step6_videomt"
    assert document["encoder"] == "vit_tiny_conv_patch8"
    components = document["components"]
    assert list(components) == ["encoder", "heads", "memory"]
    assert sum(c["params"] for c in components.values()) == document["params"]
    assert document["protocol"]["input"] == [64, 96]
    assert "inputs" not in document["protocol"]
    for name, values in components.items():
        (row,) = (line.split() for line in out.splitlines()[:-1] if line.strip().startswith(name))
        assert row[1:3] == [f"{values['params']:,}", f"{values['gmacs']:.3f}"]
        assert row[3] == f"{values['gmacs'] / document['gmacs']:.1%}"


def test_sizes_from_a_file(cost, tmp_path):
    (tmp_path / "sizes").write_text("64x96 2\n64x64\n")
    code, out, _ = cost(
        "--variant", "step6_videomt", *SMALL, "--inputs", tmp_path / "sizes", "--json"
    )
    assert code == 0
    single = [
        last(cost("--variant", "step6_videomt", *SMALL, "--input", size, "--json")[1])["gmacs"]
        for size in ("64x96", "64x64")
    ]
    document = last(out)
    assert document["gmacs"] == pytest.approx((2 * single[0] + single[1]) / 3, rel=1e-9)
    assert document["protocol"]["inputs"] == [[64, 96, 2], [64, 64, 1]]


def test_several_variants_and_a_figure(cost, tmp_path):
    names = ("step6_videomt", "step4_frame_by_frame", "step5_propagation")
    code, out, _ = cost(
        *("--variant", ",".join(names[:2]), "--variant", names[2], *SMALL, "--input", "64x96"),
        *("--frames", 1, "--figure", tmp_path / "new" / "bars.svg", "--json"),
    )
    assert code == 0
    documents = last(out)["variants"]
    assert tuple(documents) == names
    assert all(name in out for name in names)
    for name, document in documents.items():
        assert document["variant"] == name
        assert all(c["milliseconds"] > 0 for c in document["components"].values() if c["gmacs"])
    svg = (tmp_path / "new" / "bars.svg").read_text(encoding="utf-8")
    assert svg.startswith("<?xml")


def test_an_encoder_for_each_variant(cost):
    code, out, _ = cost(
        *("--variant", "step6_videomt,step4_frame_by_frame", "--input", "64x64", "--json"),
        *("--encoder", "vit_tiny_patch16_224", "--encoder", "vit_small_patch14_reg4_dinov2"),
    )
    assert code == 0
    found = {name: d["encoder"] for name, d in last(out)["variants"].items()}
    assert found == {
        "step6_videomt": "vit_tiny_patch16_224",
        "step4_frame_by_frame": "vit_small_patch14_reg4_dinov2",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "one of --input HxW and --inputs FILE is needed"),
        (("--input", "64x64", "--inputs", "sizes"), "both is given"),
        (("--inputs", "absent"), "absent"),
        (("--inputs", "sizes"), "sizes, line 2: '64y64 3'"),
        (("--input", "64x64", "--figure", "bars.gif"), "valid: pdf, png, svg"),
        (("--input", "64x64", "--figure", "bars"), "valid: pdf, png, svg"),
        (("--input", "64x64", "--variant", "step6_videomt"), "given twice"),
        (("--input", "64x64", "--encoder", "vit_tiny_patch16_224"), "2 encoders do not fit 1"),
    ],
)
def test_what_is_refused(cost, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sizes").write_text("64x96\n64y64 3\n")
    code, _, err = cost("--variant", "step6_videomt", *SMALL, *arguments)
    assert code == 2
    (line,) = (line for line in err.splitlines() if line.startswith("error:"))
    assert sentence in line


@pytest.fixture
def traced_once(monkeypatch):
    """What a step of a model computes is counted once; it does not know how long its video is."""
    traces = {}

    def once(model, frame):
        key = type(model.tracker), model.refiner is None, frame.shape
        if key not in traces:
            traces[key] = trace(model, frame)
        return copy.deepcopy(traces[key])

    trace = counting._trace
    monkeypatch.setattr(counting, "_trace", once)


@pytest.mark.usefixtures("traced_once")
def test_the_length_of_the_video_of_a_refiner(cost):
    def document(*arguments, variant="dvis_plus_offline"):
        return last(cost("--variant", variant, *SMALL, "--input", "64x96", "--json", *arguments)[1])

    usual = document()
    assert any(f"a video of {COUNTED_FRAMES} frames" in note for note in usual["notes"])
    assert "video_frames" not in usual["protocol"]
    hundred, thousand = document("--video-frames", 100), document("--video-frames", 1000)
    assert hundred["protocol"]["video_frames"] == 100
    assert any("a video of 100 frames" in note for note in hundred["notes"])
    # a frame is compared with as many more, in all layers, for each of the six queries
    sizes = SMALL_DECODERS["vit_tiny_conv_patch8"]
    grown = 6 * sizes.tracker_layers * 2 * (2 * sizes.dim) * 900 / 1e9
    assert thousand["gmacs"] - hundred["gmacs"] == pytest.approx(grown, rel=1e-6)
    parts = [d["components"]["refiner"]["gmacs"] for d in (thousand, hundred)]
    assert parts[0] - parts[1] == pytest.approx(grown, rel=1e-6)
    online = document("--video-frames", 100, variant="dvis_plus")
    assert "video_frames" not in online["protocol"]
    code, _, err = cost(
        "--variant", "dvis_plus_offline", *SMALL, "--input", "64x96", "--video-frames", 0
    )
    assert code == 2
    assert "a video of 0 frames has no cost; it must have at least 1" in " ".join(err.split())
