"""Official files -> ours -> transformers, and the outputs of transformers' own models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from weights import published
from weights.shapes import Shapes

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.weights import (
    build_model,
    check_weights,
    convert_weights,
    identify,
    inspect_weights,
    load_weights,
)
from videomt_bench.weights.converting import in_layout
from videomt_bench.weights.reading import read_weights

transformers = pytest.importorskip("transformers")
SIZE, FRAMES = 96, 3
SMALL = dict(dim=384, depth=12, joint=3, classes=7, queries=9)
TOLERANCE = dict(atol=1e-4, rtol=0)
State = dict[str, Tensor]


def random_state(shapes: Shapes) -> State:
    """Norms near one, all else so large that every tensor changes the outputs."""
    torch.manual_seed(0)
    state = {name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}
    for name, value in state.items():
        if name.endswith((".gamma", ".lambda1", "norm1.weight", "norm2.weight", "norm.weight")):
            value += 1
    return state


def official(family: str, folder: Path, grid: int = SIZE // 16) -> Path:
    """A file of random weights, as its authors write it."""
    file = folder / "official.pth"
    if family == "videomt":
        torch.save({"model": random_state(published.videomt(grid=grid, **SMALL))}, file)
    elif family == "videomt_segmenter":
        shapes = published.videomt(grid=grid, fusion=False, **SMALL)
        torch.save({"model": random_state(shapes)}, file)
    else:
        shapes = published.videomt_dinov3(fusion=False, **SMALL)
        torch.save({"model": random_state(shapes)}, file)
    return file


PORTS = {
    "videomt": "VideomtForUniversalSegmentation",
    "videomt_segmenter": "EomtForUniversalSegmentation",
    "videomt_dinov3_segmenter": "EomtDinov3ForUniversalSegmentation",
}


@pytest.fixture(scope="module", params=list(PORTS))
def converted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """Family, official file, folder of transformers; by way of a file of ours."""
    folder = tmp_path_factory.mktemp(request.param)
    source = official(request.param, folder)
    convert_weights(source, "ours", folder / "ours.safetensors")
    done = convert_weights(folder / "ours.safetensors", "transformers", folder / "port")
    assert done.family.startswith("transformers_")
    if request.param.endswith("dinov3_segmenter"):  # its size is no tensor's
        config = json.loads((folder / "port" / "config.json").read_text())
        config["image_size"] = SIZE
        (folder / "port" / "config.json").write_text(json.dumps(config))
    return request.param, source, folder / "port"


@torch.no_grad()
def test_outputs_of_transformers_are_ours(converted: tuple[str, Path, Path]) -> None:
    """Classes and masks to 1e-4, through ``from_pretrained``."""
    family, source, folder = converted
    port, loading = getattr(transformers, PORTS[family]).from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(loading[x] for x in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    model = build_model(inspect_weights(source)).eval()
    load_weights(source, model)
    clip = torch.randn(1, FRAMES, 3, SIZE, SIZE)
    expected = port.eval()(clip if family == "videomt" else clip[0])
    found, _ = model(clip)
    torch.testing.assert_close(found.class_logits[0], expected.class_queries_logits, **TOLERANCE)
    torch.testing.assert_close(found.mask_logits[0], expected.masks_queries_logits, **TOLERANCE)
    # the frames differ, and so do the queries: a swap would be seen
    assert (found.class_logits[0, 1:] - found.class_logits[0, :1]).abs().max() > 1e-2
    assert found.class_logits[0].std(1).max() > 1e-2
    assert found.mask_logits.std() > 1e-2


@torch.no_grad()
def test_every_tensor_matters_to_the_outputs(tmp_path: Path) -> None:
    """So that the comparison sees every rule: a change of any tensor moves an output."""
    source = official("videomt", tmp_path, grid=3)
    state = read_weights(source)
    model = build_model(inspect_weights(source)).eval()
    load_weights(source, model)
    clip = torch.randn(1, 2, 3, 48, 48)
    before, _ = model(clip)
    blind = []
    for name, value in model.state_dict().items():
        if ".blocks." in name and ".blocks.4." not in name and ".blocks.11." not in name:
            continue
        kept = value.clone()
        value.add_(0.1 * torch.randn_like(value))
        after, _ = model(clip)
        value.copy_(kept)
        moved = [
            (a - b).abs().max() > 1e-3
            for a, b in (
                (after.class_logits, before.class_logits),
                (after.mask_logits, before.mask_logits),
            )
        ]
        if not any(moved):
            blind.append(name)
    assert blind == []
    assert len(state) == 198


def test_values_are_where_the_table_of_the_port_says(converted: tuple[str, Path, Path]) -> None:
    """Spot checks of the correspondence that the authors of the port give."""
    family, source, folder = converted
    theirs = torch.load(source, weights_only=True)["model"]
    port = read_weights(folder)
    encoder = "backbone.encoder.backbone."
    pairs = {
        "query.weight": "backbone.q.weight",
        "class_predictor.bias": "backbone.class_head.bias",
        "mask_head.fc1.weight": "backbone.mask_head.0.weight",
        "mask_head.fc2.weight": "backbone.mask_head.2.weight",
        "mask_head.fc3.weight": "backbone.mask_head.4.weight",
        "upscale_block.block.1.layernorm2d.weight": "backbone.upscale.1.norm.weight",
        "upscale_block.block.0.conv2.weight": "backbone.upscale.0.conv2.weight",
        "layers.5.norm2.weight": encoder + "blocks.5.norm2.weight",
    }
    if family == "videomt":
        pairs["query_updater.weight"] = "backbone.query_updater.weight"
    if "dinov3" in family:
        block = encoder + "blocks.5."
        same = ("attention.q_proj.weight", "attention.k_proj.weight", "attention.v_proj.bias")
        same = (*same, "layer_scale1.lambda1", "mlp.up_proj.weight", "mlp.down_proj.bias")
        pairs |= {f"layers.5.{name}": block + name for name in same}
        pairs["embeddings.register_tokens"] = encoder + "patch_embed.register_tokens"
    else:
        joined = theirs[encoder + "blocks.5.attn.qkv.weight"]
        for x, rows in (("q", (0, 384)), ("k", (384, 768)), ("v", (768, 1152))):
            part = joined[slice(*rows)]
            assert torch.equal(port[f"layers.5.attention.{x}_proj.weight"], part)
        pairs["layers.5.layer_scale2.lambda1"] = encoder + "blocks.5.ls2.gamma"
        pairs["embeddings.register_tokens"] = encoder + "reg_token"
        positions = theirs[encoder + "pos_embed"][0]
        assert torch.equal(port["embeddings.position_embeddings.weight"], positions)
    for name, official_name in pairs.items():
        assert torch.equal(port[name], theirs[official_name]), name


def test_and_back_again(converted: tuple[str, Path, Path], tmp_path: Path) -> None:
    """transformers -> official: the bits of the file that it all began with."""
    family, source, folder = converted
    done = convert_weights(folder, family, tmp_path / "again.pth")
    assert done.family == family
    first = torch.load(source, weights_only=True)["model"]
    second = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    made = {"backbone.attn_mask_probs", "criterion.empty_weight"}
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first if k not in made)
    assert not second["backbone.attn_mask_probs"].any()
    weight = second["criterion.empty_weight"]
    assert weight.tolist() == pytest.approx([1.0] * 7 + [0.1])


def test_check_passes_and_sees_a_difference(
    converted: tuple[str, Path, Path], tmp_path: Path
) -> None:
    family, source, folder = converted
    found = check_weights(source, folder)
    assert found.models == ("ours", PORTS[family])
    assert found.clip == (1, 2, 3, found.clip[3], found.clip[3])
    assert found.passed
    if family != "videomt":
        return
    document = torch.load(source, weights_only=True)
    document["model"]["backbone.mask_head.2.weight"] += 1e-3
    torch.save(document, tmp_path / "changed.pth")
    changed = check_weights(tmp_path / "changed.pth", folder)
    assert not changed.passed
    assert changed.class_logits <= 1e-4 < changed.mask_logits


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        ("minvis", published.mask2former),
        ("dvis_plus_segmenter", published.ctvis),
        ("cavis_segmenter", published.cavis_segmenter),
        ("cavis", published.cavis),
        ("dvis_plus", published.dvis_plus),
        ("dvis_daq", published.daq),
    ],
)
def test_decoupled_files_come_back(family: str, shapes: object, tmp_path: Path) -> None:
    """As ours and back: the same bits under the same names, and constants where we have none."""
    first = random_state(shapes(dim=384, depth=12, classes=3, queries=5))
    ours = in_layout(identify(first, "theirs"), "ours")[1]
    found, second = in_layout(identify(ours, "ours"), family)
    assert found.name == family
    assert second.keys() == first.keys()
    constant = ("empty_weight", "mask_token", "vit_module.norm.weight", "vit_module.norm.bias")
    for name, value in first.items():
        if not name.endswith((*constant, "laplacian")):
            assert torch.equal(second[name], value), name
    if "sem_seg_head.predictor.laplacian" in second:
        kernel = second["sem_seg_head.predictor.laplacian"][0, 0]
        assert kernel.tolist() == [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    source = official("videomt", tmp_path)
    for to, out, match in (
        ("transformers", "port.txt", "or a folder"),
        ("official", "folder", r"valid: a file that ends in \.pth"),
        ("ours", "x.pkl", r"valid: a file that ends in \.pth"),
        ("theirs", "x.pth", "unknown target 'theirs'"),
    ):
        with pytest.raises(BenchError, match=match) as caught:
            convert_weights(source, to, tmp_path / out)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / out).exists()


def test_values_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    source = official("videomt", tmp_path)
    document = torch.load(source, weights_only=True)
    document["model"]["backbone.q.weight"][0, 0] = float("nan")
    torch.save(document, source)
    with pytest.raises(BenchError, match=r"memory\.learned\.weight of .* no numbers"):
        convert_weights(source, "ours", tmp_path / "x.pth")


def test_files_with_other_outputs_are_not_compared(tmp_path: Path) -> None:
    source = official("videomt", tmp_path)
    other = random_state(published.videomt(grid=6, **{**SMALL, "classes": 8}))
    torch.save({"model": other}, tmp_path / "other.pth")
    with pytest.raises(BenchError, match="7 classes and 9 queries"):
        check_weights(source, tmp_path / "other.pth")


# the rule for positions


@pytest.fixture(scope="module")
def on_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mask2Former on ViT-Adapter of a tiny encoder for 320 pixels, by its authors' names."""
    folder = tmp_path_factory.mktemp("adapter")
    spec = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 320, 8), 3, 5)
    torch.save(load_variant("minvis").build(spec).state_dict(), folder / "plain.pth")
    convert_weights(folder / "plain.pth", "minvis", folder / "theirs.pth")
    return folder / "theirs.pth"


@pytest.mark.parametrize("name", ["ours.pth", "ours.safetensors"])
def test_a_converted_file_keeps_the_rule_for_positions(
    name: str, on_adapter: Path, tmp_path: Path
) -> None:
    convert_weights(on_adapter, "ours", tmp_path / name)
    info = inspect_weights(tmp_path / name)
    assert (info.family, info.positions) == ("ours", "dinov2")
    assert info.spec().encoder.positions == "dinov2"
    state = read_weights(tmp_path / name)
    plain = read_weights(on_adapter.with_name("plain.pth"))
    assert state.keys() == plain.keys()
    assert all(torch.equal(state[k], plain[k]) for k in plain)
    # once more as ours it is kept, and by its authors' names it says so itself
    convert_weights(tmp_path / name, "ours", tmp_path / "again.safetensors")
    assert inspect_weights(tmp_path / "again.safetensors").positions == "dinov2"
    convert_weights(tmp_path / name, "minvis", tmp_path / "theirs.pth")
    assert inspect_weights(tmp_path / "theirs.pth").positions == "dinov2"


def test_a_file_that_says_nothing_has_timms_rule(on_adapter: Path, tmp_path: Path) -> None:
    plain = on_adapter.with_name("plain.pth")
    assert inspect_weights(plain).positions == "timm"
    convert_weights(plain, "ours", tmp_path / "ours.pth")
    assert torch.load(tmp_path / "ours.pth", weights_only=True).keys() == read_weights(plain).keys()
    assert inspect_weights(tmp_path / "ours.pth").positions == "timm"


def test_check_resamples_positions_of_both_files_alike(on_adapter: Path) -> None:
    """A plain file of ours does not say whose rule it has; the other one does."""
    found = check_weights(on_adapter, on_adapter.with_name("plain.pth"), frames=1)
    assert found.clip == (1, 1, 3, 256, 256)
    assert found.class_logits == found.mask_logits == 0


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_rule_that_there_is_not_is_one_sentence(
    name: str, on_adapter: Path, tmp_path: Path
) -> None:
    state = read_weights(on_adapter.with_name("plain.pth"))
    if name.endswith("pth"):
        torch.save({"model": state, "positions": "bicubic"}, tmp_path / name)
    else:
        save_file(state, tmp_path / name, {"positions": "bicubic"})
    with pytest.raises(BenchError, match=r"'bicubic'.*valid: dinov2, timm") as caught:
        inspect_weights(tmp_path / name)
    assert "\n" not in str(caught.value)
