"""Weights of encoders: files in several layouts -> timm's names, and a report of what fits.

Layouts: timm's, the original ones that timm converts (DINOv2, DINOv3, EVA-02, CLIP, Swin), that of
DINOv3 in transformers (``facebook/dinov3-vitl16-pretrain-lvd1689m``), and ResNets of torchvision
and detectron2.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from timm.models import eva, load_state_dict, resnet, swin_transformer, vision_transformer
from torch import Tensor, nn

from videomt_bench.errors import BenchError

State = dict[str, Tensor]
Net: TypeAlias = (
    vision_transformer.VisionTransformer
    | eva.Eva
    | resnet.ResNet
    | swin_transformer.SwinTransformer
)

PICKLES = (".pkl", ".pickle")
UNUSED = ("head.", "head_dist.", "fc_norm.", "attn_pool.", "lm_head.", "mask_token")
"""Beginnings of names that belong to pre-training or classification; no encoder here has them."""
DINOV3_NAMES = [
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^(?:model\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
]
"""Names in transformers -> timm's, but for queries, keys and values, which timm fuses, and for the
first layer of an MLP, whose name says whether it is gated."""
DETECTRON2_NAMES = [
    (r"^stem\.conv1\.norm\.", "bn1."),
    (r"^stem\.", ""),
    (r"^(res\d\.\d+)\.conv(\d)\.norm\.", r"\1.bn\2."),
    (r"^(res\d\.\d+)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(res\d\.\d+)\.shortcut\.", r"\1.downsample.0."),
    *((rf"^res{i + 1}\.", f"layer{i}.") for i in range(1, 5)),
]
"""A ResNet's names in detectron2 -> timm's."""
BACKBONE = "backbone."
"""What names begin with in files that may have more than an encoder."""
PYRAMID_UNUSED = (*UNUSED, "fc.", "norm.")
COUNTER = ".num_batches_tracked"
"""Of batch norms that are not frozen."""
SWIN_BUFFERS = (".attn_mask", ".relative_position_index")


@dataclass(frozen=True)
class WeightReport:
    """How the tensors of a file and those of an encoder go together, by timm's names."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    """In the encoder, not in the file."""
    unexpected: tuple[str, ...]
    """In the file, not in the encoder, and no head."""
    other_shape: tuple[str, ...]
    """Name, and the two shapes."""

    @property
    def complete(self) -> bool:
        """Whether file and encoder have the same tensors."""
        return not (self.missing or self.unexpected or self.other_shape)

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.other_shape)
        parts = [f"{len(self.matched)} of {total} tensors match"]
        for title, names in (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.other_shape),
        ):
            if names:
                listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                parts.append(f"{len(names)} {title} ({listed})")
        return ", ".join(parts)


def check_file(file: str) -> None:
    """Check that a file of weights is not of a kind that is refused.

    Raises:
        BenchError: a pickle.
    """
    if Path(file).suffix.lower() in PICKLES:
        raise BenchError(
            f"encoder weights {file!r} are a pickle, which can run code when it is read; "
            "give a .safetensors file, or a .pth file of tensors"
        )


def read_state(file: str) -> State:
    """The tensors of a safetensors or PyTorch file, by name; nothing in the file is executed.

    Raises:
        BenchError: a pickle, unreadable, or without tensors.
    """
    check_file(file)
    try:
        found = load_state_dict(file, weights_only=True)
    except Exception as error:
        raise _unreadable(file, error) from None
    state = {k: v for k, v in found.items() if isinstance(v, Tensor)} if found else {}
    if not state:
        raise BenchError(f"encoder weights {file!r} hold no tensors by name")
    return state


def load_weights(
    vit: Net,
    state: State,
    source: str,
    partial: bool = False,
    whole: nn.Module | None = None,
) -> WeightReport:
    """Fill a network from the tensors of a file, resampled to its patches and its grid.

    Args:
        vit: without a head; a pyramid without a final norm.
        state: in one of the layouts above.
        source: what a message calls the file.
        partial: accept less than all.
        whole: what is filled, where that is the network and more, under names that a file has.

    Raises:
        BenchError: anything is missing, unexpected or of another shape, unless ``partial``; or
            nothing matches.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            state = to_timm(vit, state)
    except Exception as error:
        raise _unreadable(source, error) from None
    whole = whole or vit
    report = compare(whole, state)
    if not report.matched or not (report.complete or partial):
        hint = "" if partial else "; partial=True loads what fits"
        raise BenchError(f"encoder weights from {source!r} do not fit: {report}{hint}")
    if not report.complete:
        warnings.warn(f"encoder weights from {source!r}: {report}", stacklevel=2)
    whole.load_state_dict({name: state[name] for name in report.matched}, strict=False)
    return report


def compare(vit: nn.Module, state: Mapping[str, Tensor]) -> WeightReport:
    """Which tensors of a state in timm's layout fit a ViT; no value is looked at."""
    own = vit.state_dict()
    other = [k for k in state if k in own and state[k].shape != own[k].shape]
    return WeightReport(
        matched=tuple(k for k in own if k in state and k not in other),
        missing=tuple(k for k in own if k not in state),
        unexpected=tuple(k for k in state if k not in own),
        other_shape=tuple(f"{k} {_shape(state[k])} for {_shape(own[k])}" for k in other),
    )


def to_timm(vit: Net, state: State) -> State:
    """The tensors by timm's names, in the shapes of the ViT's patches and grid, without heads.

    Biases that a ViT does not have are dropped where they are zero, as in DINOv3's distilled
    models.
    """
    own = vit.state_dict()
    if isinstance(vit, resnet.ResNet | swin_transformer.SwinTransformer):
        return _pyramid_to_timm(vit, state)
    if isinstance(vit, eva.Eva):
        state = _from_transformers(state) if "embeddings.register_tokens" in state else state
        biases = {} if "blocks.0.attn.q_bias" in own else _original_biases(state)
        # timm would leave them out, whatever they are
        rest = {k: v for k, v in state.items() if k not in biases}
        state = eva.checkpoint_filter_fn(rest, vit) | biases
    else:
        state = vision_transformer.checkpoint_filter_fn(dict(state), vit, adapt_layer_scale=True)
    if "norm.weight" not in state:  # timm has the final norm behind the pooling
        state = {re.sub(r"^fc_norm\.", "norm.", k): v for k, v in state.items()}
    return {k: v for k, v in state.items() if k in own or not _needless(k, v)}


def _pyramid_to_timm(net: resnet.ResNet | swin_transformer.SwinTransformer, state: State) -> State:
    """Without heads, the final norm, and what is no weight."""
    left = set(left_aside(state, pyramid=True))
    names = pyramid_names(state)
    state = {names[name]: value for name, value in state.items() if name not in left}
    if isinstance(net, swin_transformer.SwinTransformer):
        own = net.state_dict()
        # timm looks for the block of each table
        rest = {k: v for k, v in state.items() if k not in own and k.endswith("bias_table")}
        known = {k: v for k, v in state.items() if k not in rest}
        state = swin_transformer.checkpoint_filter_fn(known, net) | rest
    return state


def pyramid_names(names: Iterable[str]) -> dict[str, str]:
    """The names of a file of a ResNet or a Swin transformer -> timm's; mergings of Swin stay.

    They are below ``backbone.`` in some files. Where two would become one, all stay.
    """
    result = {}
    for name in names:
        new = name.removeprefix(BACKBONE)
        for pattern, other in DETECTRON2_NAMES:
            new = re.sub(pattern, other, new)
        result[name] = new
    unique = len(set(result.values())) == len(result)
    return result if unique else {name: name for name in result}


def left_aside(names: Iterable[str], pyramid: bool = False) -> tuple[str, ...]:
    """The names in a file that belong to heads, and then those of what no encoder here needs."""
    names = list(names)
    if pyramid:
        timms = pyramid_names(names)
        heads = [name for name, new in timms.items() if new.startswith(PYRAMID_UNUSED)]
        rest = [name for name in names if name.endswith((COUNTER, *SWIN_BUFFERS))]
        return tuple(dict.fromkeys(heads + rest))
    # of a model that pools, the norm behind the pooling is the final one
    unused = tuple(x for x in UNUSED if x != "fc_norm." or "norm.weight" in names)
    return tuple(n for n in names if n.removeprefix("embeddings.").startswith(unused))


def _needless(name: str, value: Tensor) -> bool:
    """Whether nothing is lost without a tensor that an encoder does not have."""
    return name.startswith(UNUSED) or (name.endswith(("_bias", "qkv.bias")) and not value.any())


def _original_biases(state: State) -> State:
    """The biases of queries and values in the original DINOv3; that of the keys is masked."""
    if "storage_tokens" not in state:
        return {}
    biases = {k: v.chunk(3) for k, v in state.items() if k.endswith("qkv.bias")}
    return {k: torch.cat((query, value)) for k, (query, _, value) in biases.items()}


def _from_transformers(state: State) -> State:
    """DINOv3 as transformers has it; tensors of queries, keys and values are joined."""
    gated = any(".mlp.gate_proj." in name for name in state)
    names = [*DINOV3_NAMES, (r"\.mlp\.up_proj\.", ".mlp.fc1_x." if gated else ".mlp.fc1.")]
    result: State = {}
    for name, value in state.items():
        if name == "embeddings.mask_token":
            continue
        for pattern, new in names:
            name = re.sub(pattern, new, name)
        result[re.sub(r"\.attention\.([qkv])_proj\.bias$", r".attn.\1_bias", name)] = value
    for name in [k for k in result if k.endswith(".attention.q_proj.weight")]:
        block = name.removesuffix("attention.q_proj.weight")
        parts = [result.pop(f"{block}attention.{x}_proj.weight") for x in "qkv"]
        result[f"{block}attn.qkv.weight"] = torch.cat(parts)
    return result


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "scalar"


def _unreadable(source: str, error: Exception) -> BenchError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return BenchError(f"encoder weights from {source!r} cannot be loaded: {reason}")
