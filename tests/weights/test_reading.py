"""Files that nobody vouches for: what is read, what is refused, and that nothing in them runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from weights import published

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.weights import inspect_weights, load_weights
from videomt_bench.weights.reading import read_weights

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.ones(3)}


class Hostile:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def same(found: dict[str, Tensor], expected: dict[str, Tensor] = STATE) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[k], expected[k]) for k in expected
    )


def refused(path: Path, match: str) -> None:
    with pytest.raises(BenchError, match=match) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "pytorch_model.bin", "last.ckpt"])
@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_pytorch_files(name: str, key: str | None, tmp_path: Path) -> None:
    """Optimizers and counters beside the weights do not matter."""
    more = {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "iteration": 7}
    torch.save(STATE if key is None else {key: STATE, **more}, tmp_path / name)
    assert same(read_weights(tmp_path / name))


def test_the_format_before_zip(tmp_path: Path) -> None:
    torch.save({"model": STATE}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "old.pth"))


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "_orig_mod."])
def test_what_wrappers_put_before_names(prefix: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {prefix + k: v for k, v in STATE.items()}}, tmp_path / "x.pth")
    assert same(read_weights(tmp_path / "x.pth"))


def test_the_average_of_a_training_comes_first(tmp_path: Path) -> None:
    """As it is what the stage gives (``training/ema.py``)."""
    average = {"module." + k: v + 1 for k, v in STATE.items()}
    document = {
        "state_dict": {"model." + k: v for k, v in STATE.items()},
        "ema": {"n_averaged": torch.tensor(3), **average},
    }
    torch.save(document, tmp_path / "checkpoint.pth")
    assert same(read_weights(tmp_path / "checkpoint.pth"), {k: v + 1 for k, v in STATE.items()})


def test_safetensors_and_folders(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    assert same(read_weights(tmp_path / "model.safetensors"))
    assert same(read_weights(tmp_path))


def write_index(folder: Path, parts: dict[str, str]) -> Path:
    file = folder / "model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": parts}), encoding="utf-8")
    return file


def test_several_safetensors_files(tmp_path: Path) -> None:
    for i, (name, value) in enumerate(STATE.items()):
        save_file({name: value}, tmp_path / f"part-{i}.safetensors")
    parts = {"a.weight": "part-0.safetensors", "b.bias": "part-1.safetensors"}
    assert same(read_weights(write_index(tmp_path, parts)))
    assert same(read_weights(tmp_path))


@pytest.mark.parametrize("part", ["../outside.safetensors", "sub/x.safetensors", "/etc/passwd"])
def test_an_index_does_not_lead_out_of_its_folder(part: str, tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "outside.safetensors")
    inner = tmp_path / "inner"
    inner.mkdir()
    refused(write_index(inner, {"a.weight": part}), "valid are .safetensors files beside it")


def test_an_index_that_promises_too_much(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "x.safetensors")
    refused(write_index(tmp_path, {"c": "x.safetensors"}), "lack 1 tensors: c")


@pytest.mark.parametrize("text", ["[]", "{", '{"weight_map": 3}', '{"metadata": {}}'])
def test_an_index_that_is_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors.index.json"
    file.write_text(text, encoding="utf-8")
    refused(file, "cannot read the index")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_hostile_checkpoint_is_refused_and_nothing_runs(
    zipped: bool, nested: bool, tmp_path: Path
) -> None:
    trap, file = tmp_path / "trap", tmp_path / "model.pth"
    content = {"model": STATE, "trainer": Hostile(trap)} if nested else Hostile(trap)
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    refused(file, "hold more than tensors .*nothing in them was run")
    with pytest.raises(BenchError):
        inspect_weights(file)
    with pytest.raises(BenchError):
        load_weights(file, small())
    assert not trap.exists()
    torch.load(file, weights_only=False)  # it would have
    assert trap.exists()


@pytest.mark.parametrize("name", ["model_final.pkl", "R-50.pickle", "MODEL.PKL"])
def test_a_pickle_is_refused_unread(name: str, tmp_path: Path) -> None:
    """detectron2's model zoo has such files; the sentence says what to do."""
    trap = tmp_path / "trap"
    (tmp_path / name).write_bytes(pickle.dumps({"model": Hostile(trap)}))
    refused(tmp_path / name, "are a pickle, which can run code .*save_file")
    assert not trap.exists()


def test_a_pickle_under_another_name(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"model": Hostile(trap)}))
    with pytest.raises(BenchError):
        read_weights(tmp_path / "x.pth")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"model": {"a.weight": [1.0, 2.0]}}, "1 entries that are no tensors, such as 'a.weight'"),
        ({"model": {3: torch.ones(2)}}, "no tensors, such as '3'"),
        ({"model": {}}, "hold no tensors"),
        ([torch.ones(2)], "are a list, not tensors by name"),
        (torch.ones(2), "are a Tensor, not tensors by name"),
    ],
)
def test_what_is_no_state_dict(content: object, match: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", match)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{suffix}"
    save_file(STATE, file) if suffix == ".safetensors" else torch.save(STATE, file)
    for content in (file.read_bytes()[:-40], b"", b"not weights", bytes(64)):
        file.write_bytes(content)
        with pytest.raises(BenchError) as caught:
            read_weights(file)
        assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    refused(tmp_path / "absent.pth", "there is no file of weights")
    refused(tmp_path, "has no weights")
    (tmp_path / "weights.onnx").write_bytes(b"x")
    refused(tmp_path / "weights.onnx", "of no known kind; valid")


# values


def small(classes: int = 3) -> VideoSegmenter:
    spec = ModelSpec(EncoderSpec("vit_small_patch14_reg4_dinov2", 64), classes, 5)
    return load_variant("step6_videomt").build(spec)


def small_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = published.videomt(dim=384, depth=12, joint=3, grid=4, classes=3, queries=5)
    return {name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    state = small_state()
    state["backbone.mask_head.2.bias"][7] = value
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(BenchError, match=r"segmenter\.mask_head\.2\.bias of .* no numbers"):
        load_weights(tmp_path / "x.pth", small())


def test_values_of_another_type(tmp_path: Path) -> None:
    state = small_state()
    state["backbone.mask_head.2.bias"] = torch.zeros(384, dtype=torch.int64)
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(BenchError, match=r"of type torch\.int64; valid are real numbers"):
        load_weights(tmp_path / "x.pth", small())


def test_half_precision_is_widened(tmp_path: Path) -> None:
    state = {k: v.half() for k, v in small_state().items()}
    torch.save({"model": state}, tmp_path / "x.pth")
    model = small()
    assert load_weights(tmp_path / "x.pth", model).complete
    assert model.memory.fuse.weight.dtype == torch.float32
    assert torch.equal(model.memory.fuse.weight, state["backbone.query_updater.weight"].float())
