"""Weights of encoders in the layouts of their publishers, and what does not fit."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, build_encoder
from videomt_bench.models.encoder_weights import compare, to_timm

transformers = pytest.importorskip("transformers")
DINOV2 = "vit_small_patch14_reg4_dinov2"
DINOV3 = "vit_tiny_patch16_dinov3"
EVA02 = "eva02_tiny_patch14_224"
State = dict[str, Tensor]


def random_state(name: str, **settings: object) -> State:
    """The state of timm's own model, with values everywhere."""
    torch.manual_seed(0)
    state = timm.create_model(name, **settings).state_dict()
    return {k: 0.05 * torch.randn_like(v) for k, v in state.items()}


def saved(state: State, folder: Path, name: str = "weights.safetensors") -> str:
    file = folder / name
    if name.endswith(".safetensors"):
        save_file({k: v.contiguous() for k, v in state.items()}, file)
    else:
        torch.save(state, file)
    return str(file)


@torch.no_grad()
def test_dinov2_in_its_original_layout_is_that_of_transformers(tmp_path: Path) -> None:
    """Registers, cls position and joined projections, to 1e-4."""
    torch.manual_seed(0)
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=64, patch_size=16
    )
    port = transformers.Dinov2WithRegistersModel(config).eval()
    for parameter in port.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    file = saved(original_dinov2(port.state_dict()), tmp_path, "dinov2_vits14_reg4_pretrain.pth")
    encoder = build_encoder(EncoderSpec(DINOV2, 64, weights=file)).eval()
    assert encoder.report is not None
    assert len(encoder.report.matched) == 7 + 12 * 14
    frames = torch.randn(2, 3, 64, 64)
    tokens = encoder(frames)["tokens"]
    for block in encoder.joint_blocks:
        tokens = encoder.run(block, tokens)
    expected = port(frames).last_hidden_state
    torch.testing.assert_close(encoder.norm(tokens), expected, atol=1e-4, rtol=1e-4)


def original_dinov2(state: State) -> State:
    """The names of facebookresearch/dinov2 for those of transformers."""
    top = {
        "embeddings.cls_token": "cls_token",
        "embeddings.mask_token": "mask_token",
        "embeddings.register_tokens": "register_tokens",
        "embeddings.position_embeddings": "pos_embed",
    }
    parts = [
        ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
        ("encoder.layer.", "blocks."),
        (".attention.o_proj.", ".attn.proj."),
        (".layer_scale1.lambda1", ".ls1.gamma"),
        (".layer_scale2.lambda1", ".ls2.gamma"),
        ("layernorm.", "norm."),
    ]
    result: State = {}
    for name, value in state.items():
        if "q_proj" in name:
            joined = torch.cat([state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
            name, value = name.replace("attention.q_proj", "attn.qkv"), joined
        elif "k_proj" in name or "v_proj" in name:
            continue
        new = top.get(name, name)
        for old, other in parts:
            new = new.replace(old, other)
        result[new] = value
    return result


def original_dinov3(state: State) -> State:
    """The names of facebookresearch/dinov3 for timm's; the bias of the keys is masked."""
    result: State = {"mask_token": torch.zeros(1, 192), "rope_embed.periods": torch.ones(16)}
    for name, value in state.items():
        new = name.replace("reg_token", "storage_tokens")
        new = new.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        if name.endswith("q_bias"):
            other = state[name.replace("q_bias", "v_bias")]
            block = name.removesuffix("q_bias")
            result[f"{block}qkv.bias"] = torch.cat([value, torch.ones_like(value), other])
            result[f"{block}qkv.bias_mask"] = torch.zeros(3 * len(value))
        elif not name.endswith("v_bias"):
            result[new] = value
    return result


def test_dinov3_in_its_original_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = random_state(f"{DINOV3}_qkvb", num_classes=0)
    file = saved(original_dinov3(state), tmp_path, "dinov3_vitt16_pretrain.pth")
    encoder = build_encoder(EncoderSpec(f"{DINOV3}_qkvb", 64, weights=file))
    own = encoder.vit.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[k], state[k]) for k in state)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("layout", ["original", "timm"])
def test_biases_that_are_zero_are_no_loss_and_others_are(layout: str, tmp_path: Path) -> None:
    """timm has the distilled DINOv3 without them."""
    name = "vit_small_patch16_dinov3"
    state = random_state(f"{name}_qkvb", num_classes=0)
    zero = {k: torch.zeros_like(v) if k.endswith("_bias") else v for k, v in state.items()}
    convert = {"original": original_dinov3, "timm": dict}[layout]
    lossless = saved(convert(zero), tmp_path, "zero.safetensors")
    encoder = build_encoder(EncoderSpec(name, 64, weights=lossless))
    assert encoder.report is not None
    assert encoder.report.complete
    with pytest.raises(BenchError, match=r"unexpected \(blocks\.0\.attn\."):
        build_encoder(EncoderSpec(name, 64, weights=saved(convert(state), tmp_path)))


def test_dinov3_large_of_transformers_by_its_shapes() -> None:
    """The tensors of ``facebook/dinov3-vitl16-pretrain-lvd1689m``, nothing more or less."""
    config = transformers.DINOv3ViTConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        num_register_tokens=4,
    )
    with torch.device("meta"):
        state = transformers.DINOv3ViTModel(config).state_dict()
        vit = build_encoder(EncoderSpec("vit_large_patch16_dinov3_qkvb")).vit
        # the file on the hub has the names of transformers 4
        flat = {k.removeprefix("model."): v for k, v in state.items()}
        for found in (state, flat):
            report = compare(vit, to_timm(vit, dict(found)))
            assert report.complete, str(report)
            assert len(report.matched) == 6 + 24 * 15


def test_eva02_keeps_its_norm_where_timm_pools(tmp_path: Path) -> None:
    """timm stores the final norm as that of pooled tokens; patches and grid are resampled."""
    state = random_state(EVA02, num_classes=5)
    encoder = build_encoder(EncoderSpec(EVA02, 96, weights=saved(state, tmp_path)))
    vit = encoder.vit
    assert torch.equal(vit.norm.weight, state["fc_norm.weight"])
    assert vit.pos_embed.shape == (1, 37, 192)
    expected = timm.layers.resample_patch_embed(state["patch_embed.proj.weight"], [16, 16])
    torch.testing.assert_close(vit.patch_embed.proj.weight, expected)
    positions = timm.layers.resample_abs_pos_embed(state["pos_embed"], [6, 6])
    torch.testing.assert_close(vit.pos_embed, positions)


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224.augreg_in21k",
        "deit3_small_patch16_224.fb_in1k",
        "vit_base_patch16_clip_224.openai",
    ],
)
def test_plain_ones_in_timms_layout(name: str, tmp_path: Path) -> None:
    state = random_state(name, num_classes=7)
    encoder = build_encoder(EncoderSpec(name, 96, weights=saved(state, tmp_path)))
    assert encoder.report is not None
    assert encoder.report.complete
    assert torch.equal(encoder.vit.blocks[5].mlp.fc1.weight, state["blocks.5.mlp.fc1.weight"])


def test_timms_own_weights_come_as_a_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``weights="timm"``: timm's model as it is, resampled by the same road."""
    create = timm.create_model
    source = create(DINOV2, img_size=70, num_classes=0)
    asked = []

    def offline(name: str, pretrained: bool = False, **settings: object) -> torch.nn.Module:
        asked.append(pretrained)
        return source if pretrained else create(name, **settings)

    monkeypatch.setattr(timm, "create_model", offline)
    found = build_encoder(EncoderSpec(DINOV2, 64, weights="timm"))
    file = saved(source.state_dict(), tmp_path, "same.pth")
    expected = build_encoder(EncoderSpec(DINOV2, 64, weights=file)).vit.state_dict()
    assert asked == [False, True, False]
    assert all(torch.equal(v, expected[k]) for k, v in found.vit.state_dict().items())


def test_less_than_all_fails_unless_told(tmp_path: Path) -> None:
    state = random_state(DINOV3 + "_qkvb", num_classes=0)
    del state["blocks.3.mlp.fc1.weight"], state["norm.bias"]
    state["blocks.1.norm1.weight"] = torch.ones(5)
    state["surplus"] = torch.ones(1)
    file = saved(state, tmp_path)
    spec = EncoderSpec(DINOV3 + "_qkvb", 64, weights=file)
    with pytest.raises(BenchError) as caught:
        build_encoder(spec)
    sentence = str(caught.value)
    total = 6 + 12 * 15
    for part in (
        f"{total - 3} of {total} tensors match",
        "2 missing (blocks.3.mlp.fc1.weight, norm.bias)",
        "1 unexpected (surplus)",
        "1 of another shape (blocks.1.norm1.weight 5 for 192)",
        "partial=True loads what fits",
    ):
        assert part in sentence
    assert "\n" not in sentence
    partial = EncoderSpec(DINOV3 + "_qkvb", 64, weights=file, partial=True)
    with pytest.warns(UserWarning, match="2 missing"):
        encoder = build_encoder(partial)
    assert encoder.report is not None
    assert len(encoder.report.matched) == total - 3
    assert torch.equal(encoder.vit.blocks[2].norm2.bias, state["blocks.2.norm2.bias"])


@pytest.mark.parametrize("partial", [False, True])
def test_weights_of_something_else(partial: bool, tmp_path: Path) -> None:
    file = saved({"conv1.bias": torch.ones(3), "fc.weight": torch.ones(3, 3)}, tmp_path)
    spec = EncoderSpec(DINOV2, 64, weights=file, partial=partial)
    with pytest.raises(BenchError, match="0 of 175 tensors match"):
        build_encoder(spec)


def test_weights_of_another_size(tmp_path: Path) -> None:
    file = saved(random_state("vit_tiny_patch16_224", num_classes=0), tmp_path)
    with pytest.raises(BenchError, match="of another shape") as caught:
        build_encoder(EncoderSpec("vit_small_patch16_224", 64, weights=file))
    assert "\n" not in str(caught.value)


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(BenchError, match="are a pickle, which can run code") as caught:
        build_encoder(EncoderSpec(DINOV2, weights=str(file)))
    assert "\n" not in str(caught.value)


def test_a_file_without_tensors(tmp_path: Path) -> None:
    file = tmp_path / "empty.pth"
    torch.save({"epoch": 3}, file)
    with pytest.raises(BenchError, match="hold no tensors"):
        build_encoder(EncoderSpec(DINOV2, weights=str(file)))


def test_half_precision_is_widened_and_nothing_warns(tmp_path: Path) -> None:
    state = random_state(DINOV3 + "_qkvb", num_classes=0)
    file = saved({k: v.half() for k, v in state.items()}, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = build_encoder(EncoderSpec(DINOV3 + "_qkvb", 64, weights=file))
    weight = encoder.vit.blocks[0].attn.qkv.weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, state["blocks.0.attn.qkv.weight"], atol=1e-3, rtol=0)
