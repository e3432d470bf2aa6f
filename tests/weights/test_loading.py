"""Real files into real models: every value in its place, and whatever is amiss by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from weights import published
from weights import published_encoders as encoders
from weights.shapes import Shapes, linear, norm

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.weights import build_model, identify, inspect_weights, load_weights

DINOV2, DINOV3 = "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3_qkvb"
SMALL = dict(dim=384, depth=12, joint=3, classes=3, queries=5)
State = dict[str, Tensor]


def random_state(shapes: Shapes) -> State:
    torch.manual_seed(0)
    counters = [name for name in shapes if name.endswith("num_batches_tracked")]
    state = {name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}
    return state | {name: torch.tensor(3) for name in counters}


def saved(state: State, folder: Path, name: str = "model.pth") -> Path:
    torch.save({"model": state, "iteration": 3}, folder / name)
    return folder / name


def model_of(
    variant: str, encoder: str = DINOV2, size: int = 64, classes: int = 3
) -> VideoSegmenter:
    return load_variant(variant).build(ModelSpec(EncoderSpec(encoder, size), classes, 5))


def test_videomt(tmp_path: Path) -> None:
    state = random_state(published.videomt(grid=4, **SMALL))
    model = model_of("step6_videomt")
    report = load_weights(saved(state, tmp_path), model)
    assert report.complete
    assert report.unused == ("backbone.attn_mask_probs", "criterion.empty_weight")
    vit = model.segmenter.encoder.vit
    blocks = "backbone.encoder.backbone.blocks.7."
    assert torch.equal(vit.blocks[7].attn.qkv.weight, state[blocks + "attn.qkv.weight"])
    assert torch.equal(vit.blocks[7].ls2.gamma, state[blocks + "ls2.gamma"])
    assert torch.equal(model.memory.learned.weight, state["backbone.q.weight"])
    assert torch.equal(model.memory.fuse.bias, state["backbone.query_updater.bias"])


@pytest.mark.parametrize("fused", [False, True])
def test_videomt_on_dinov3(fused: bool, tmp_path: Path) -> None:
    state = random_state(published.videomt_dinov3(fused=fused, **SMALL))
    block = "backbone.encoder.backbone.blocks.3.attention."
    if fused:
        for name in state:
            if name.endswith("qkv_proj.bias"):
                state[name][384:768] = 0
        expected = state[block + "qkv_proj.weight"], state[block + "qkv_proj.bias"].chunk(3)[2]
    else:
        parts = [state[f"{block}{x}_proj.weight"] for x in "qkv"]
        expected = torch.cat(parts), state[block + "v_proj.bias"]
    model = model_of("step6_videomt", DINOV3)
    assert load_weights(saved(state, tmp_path), model).complete
    attention = model.segmenter.encoder.vit.blocks[3].attn
    assert torch.equal(attention.qkv.weight, expected[0])
    assert torch.equal(attention.v_bias, expected[1])


def test_a_bias_of_keys_is_not_lost_in_silence(tmp_path: Path) -> None:
    state = random_state(published.videomt_dinov3(fused=True, **SMALL))
    with pytest.raises(BenchError, match="a bias of keys is not zero"):
        inspect_weights(saved(state, tmp_path))


@pytest.mark.parametrize(
    ("variant", "shapes"),
    [
        ("cavis_offline_public_code", published.cavis_offline),
        ("dvis_plus", published.dvis_plus),
        ("dvis_daq_offline_conv", published.daq_offline_conv),
    ],
)
def test_decoupled_systems_at_a_small_encoder(variant: str, shapes: object, tmp_path: Path) -> None:
    """Nothing is left as it was initialised; the last extractor and the batch norms are named.

    These have all parts of the others, whose names and shapes are in ``test_families``.
    """
    state = random_state(shapes(dim=384, depth=12, classes=3, queries=5))
    info = inspect_weights(saved(state, tmp_path))
    assert (info.variant, info.encoder) == (variant, "vit_small_patch14_dinov2")
    model = build_model(info)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert load_weights(tmp_path / "model.pth", model).complete
    after = model.state_dict()
    assert not [k for k in before if torch.equal(before[k], after[k])]
    adapter = model.segmenter.adapter
    place = "backbone.interactions.3.extra_extractors.1."
    assert torch.equal(
        adapter.extractors[5].ffn.depthwise.weight, state[place + "ffn.dwconv.dwconv.weight"]
    )
    assert torch.equal(adapter.norms[3].running_var, state["backbone.norm4.running_var"])
    assert torch.equal(adapter.prior.project[0].bias, state["backbone.spm.fc1.bias"])
    predictor = "sem_seg_head.predictor."
    assert torch.equal(model.memory.learned.weight, state[predictor + "query_feat.weight"])
    positions = model.segmenter.decoder.query_positions
    assert torch.equal(positions, state[predictor + "query_embed.weight"])


def test_a_segmenter_goes_into_the_models_that_start_from_it(tmp_path: Path) -> None:
    """What it cannot know must be allowed, by the name of the part."""
    state = random_state(published.cavis_segmenter(dim=384, depth=12, classes=3, queries=5))
    file = saved(state, tmp_path)
    info = inspect_weights(file)
    assert (info.variant, info.segmenter_of) == (None, "step0_cavis")
    assert load_weights(file, build_model(info)).complete
    model = load_variant("step0_cavis").build(info.spec())
    with pytest.raises(BenchError, match=r"missing \(tracker\.ctx_query_embed\.weight"):
        load_weights(file, model)
    report = load_weights(file, model, allow=("tracker",))
    assert report.missing
    assert all(name.startswith("tracker.") for name in report.missing)
    reid = model.tracker.appearance.reid.layers[2].weight
    assert torch.equal(reid, state["sem_seg_head.predictor.reid_embed.layers.2.weight"])


def test_less_than_all_fails_unless_told(tmp_path: Path) -> None:
    state = random_state(published.videomt(grid=4, **SMALL))
    del state["backbone.upscale.1.conv1.bias"]
    state["backbone.extra"] = torch.ones(1)
    file = saved(state, tmp_path)
    model = model_of("step6_videomt", classes=9)
    with pytest.raises(BenchError) as caught:
        load_weights(file, model)
    for part in (
        "193 of 196 tensors match",
        "1 missing (segmenter.upscale.1.conv1.bias)",
        "1 unexpected (backbone.extra)",
        "segmenter.class_head.weight 4×384 for 10×384",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(BenchError, match="1 missing"):
        load_weights(file, model, allow=("class_head",))
    with pytest.raises(BenchError, match="unknown part of a model 'head'"):
        load_weights(file, model, allow=("head",))
    kept = model.segmenter.class_head.weight.clone()
    allowed = ("class_head", "segmenter.upscale.1.", "backbone.extra")
    report = load_weights(file, model, allowed)
    assert report.missing == ("segmenter.upscale.1.conv1.bias",)
    assert report.unexpected == ("backbone.extra",)
    assert len(report.other_shape) == 2
    assert torch.equal(model.segmenter.class_head.weight, kept)
    assert torch.equal(model.memory.learned.weight, state["backbone.q.weight"])


def test_memory_that_the_model_has_not(tmp_path: Path) -> None:
    file = saved(random_state(published.videomt(grid=4, **SMALL)), tmp_path)
    model = model_of("step4_frame_by_frame")
    with pytest.raises(BenchError, match=r"2 unexpected \(memory\.fuse\.weight"):
        load_weights(file, model)
    assert load_weights(file, model, allow=("memory",)).unexpected


def test_another_grid_is_resampled_and_said(tmp_path: Path) -> None:
    state = random_state(published.videomt(grid=4, **SMALL))
    model = model_of("step6_videomt", size=96)
    with pytest.warns(UserWarning, match=r"pos_embed resampled from 1×16×384 to 1×36×384"):
        report = load_weights(saved(state, tmp_path), model)
    assert report.complete
    assert report.notes == ("pos_embed resampled from 1×16×384 to 1×36×384",)
    positions = state["backbone.encoder.backbone.pos_embed"]
    expected = timm.layers.resample_abs_pos_embed(positions, [6, 6], num_prefix_tokens=0)
    torch.testing.assert_close(model.segmenter.encoder.vit.pos_embed, expected)


def test_tensors_that_cannot_be_joined(tmp_path: Path) -> None:
    state = random_state(published.port(dim=384, depth=12, joint=3, grid=4))
    state["layers.0.attention.k_proj.weight"] = torch.ones(3, 5)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BenchError, match="do not go together") as caught:
        inspect_weights(tmp_path / "model.safetensors")
    assert "\n" not in str(caught.value)


def test_a_part_of_what_is_joined_is_missing(tmp_path: Path) -> None:
    state = random_state(published.port(dim=384, depth=12, joint=3, grid=4))
    del state["layers.0.attention.k_proj.weight"]
    weights = identify(state, "x")
    assert set(weights.renamed.unknown) == {
        "layers.0.attention.q_proj.weight",
        "layers.0.attention.v_proj.weight",
    }
    assert "segmenter.encoder.vit.blocks.0.attn.qkv.weight" not in weights.state


# differences from a pre-trained encoder


def dinov3_of_transformers(depth: int = 12, dim: int = 384) -> State:
    """The names of ``facebook/dinov3-*`` on the hub."""
    shapes: Shapes = {
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.mask_token": (1, 1, dim),
        "embeddings.register_tokens": (1, 4, dim),
    }
    shapes |= linear("embeddings.patch_embeddings", dim, 3, 16, 16)
    shapes |= norm("norm", dim)
    for i in range(depth):
        shapes |= encoders.dinov3_block(f"layer.{i}.", dim)
    torch.manual_seed(5)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def delta_file(folder: Path) -> tuple[State, Path]:
    shapes = published.eomt(dim=384, depth=12, joint=3, v3=True)
    state = random_state(shapes)
    torch.save(state, folder / "delta.bin")
    return state, folder / "delta.bin"


def eomt_on_dinov3() -> VideoSegmenter:
    spec = ModelSpec(EncoderSpec(DINOV3, 64), 133, 200)
    return load_variant("step4_frame_by_frame").build(spec)


def test_differences_are_added_to_the_pretrained_encoder(tmp_path: Path) -> None:
    delta, file = delta_file(tmp_path)
    base = dinov3_of_transformers()
    save_file(base, tmp_path / "dinov3.safetensors")
    model = eomt_on_dinov3()
    with pytest.raises(BenchError, match="are differences from the pre-trained DINOv3"):
        load_weights(file, model)
    report = load_weights(file, model, base=tmp_path / "dinov3.safetensors")
    assert report.complete
    place = "network.encoder.backbone."
    parts = [
        delta[f"{place}blocks.5.attention.{x}_proj.weight"]
        + base[f"layer.5.attention.{x}_proj.weight"]
        for x in "qkv"
    ]
    block = model.segmenter.encoder.vit.blocks[5]
    torch.testing.assert_close(block.attn.qkv.weight, torch.cat(parts))
    expected = delta[place + "blocks.5.layer_scale2.lambda1"] + base["layer.5.layer_scale2.lambda1"]
    torch.testing.assert_close(block.gamma_2, expected)
    assert torch.equal(model.segmenter.class_head.weight, delta["network.class_head.weight"])


def test_whole_weights_in_the_layout_of_differences(tmp_path: Path) -> None:
    state, file = delta_file(tmp_path)
    model = eomt_on_dinov3()
    assert load_weights(file, model, base="none").complete
    place = "network.encoder.backbone.blocks.5.layer_scale2.lambda1"
    assert torch.equal(model.segmenter.encoder.vit.blocks[5].gamma_2, state[place])


def test_a_base_of_another_size(tmp_path: Path) -> None:
    _, file = delta_file(tmp_path)
    save_file(dinov3_of_transformers(12, 768), tmp_path / "base.safetensors")
    with pytest.raises(BenchError, match=r"is vit_base_patch16_dinov3_qkvb, but .* holds diff"):
        load_weights(file, eomt_on_dinov3(), base=tmp_path / "base.safetensors")


def test_a_base_for_weights_that_are_whole(tmp_path: Path) -> None:
    file = saved(random_state(published.videomt(grid=4, **SMALL)), tmp_path)
    with pytest.raises(BenchError, match="are no differences"):
        load_weights(file, model_of("step6_videomt"), base=file)


def test_an_encoder_alone_into_a_model(tmp_path: Path) -> None:
    base = dinov3_of_transformers()
    save_file(base, tmp_path / "dinov3.safetensors")
    model = eomt_on_dinov3()
    file = tmp_path / "dinov3.safetensors"
    with pytest.raises(BenchError, match=r"missing \(segmenter\.class_head\.weight"):
        load_weights(file, model)
    allow = ("class_head", "segmenter.mask_head.", "segmenter.upscale.", "queries")
    assert load_weights(file, model, allow).unexpected == ()
    gamma = model.segmenter.encoder.vit.blocks[2].gamma_1
    assert torch.equal(gamma, base["layer.2.layer_scale1.lambda1"])


def test_weights_of_nothing_known(tmp_path: Path) -> None:
    file = saved({"conv1.weight": torch.ones(3, 3)}, tmp_path)
    with pytest.raises(BenchError, match=r"are of no known family .* valid: ours, eomt"):
        inspect_weights(file)


# ours


def test_our_own_weights_and_checkpoints(tmp_path: Path) -> None:
    """The result of a stage, and a checkpoint of a training, whose names have a wrapper's."""
    source, model = model_of("step6_videomt"), model_of("step6_videomt")
    state = source.state_dict()
    torch.save(state, tmp_path / "model.pth")
    torch.save(
        {"meta": {}, "state_dict": {"model." + k: v for k, v in state.items()}},
        tmp_path / "checkpoint.pth",
    )
    for name in ("model.pth", "checkpoint.pth"):
        info = inspect_weights(tmp_path / name)
        assert (info.family, info.encoder, info.image_size) == ("ours", DINOV2, 64)
        assert load_weights(tmp_path / name, model).complete
        assert torch.equal(model.memory.fuse.weight, source.memory.fuse.weight)


@pytest.mark.parametrize("variant", ["step6_videomt", "step0_cavis"])
def test_small_models_of_our_own(variant: str, tmp_path: Path) -> None:
    spec = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 64, 8), 3, 5)
    model = load_variant(variant).build(spec)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    info = inspect_weights(tmp_path / "model.pth")
    assert (info.encoder, info.image_size, info.patch_size) == ("vit_tiny_conv_patch8", 64, 8)
    assert load_weights(tmp_path / "model.pth", load_variant(variant).build(info.spec())).complete
