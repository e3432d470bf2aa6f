"""Files of weights from one layout to another."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from videomt_bench.errors import BenchError, unknown
from videomt_bench.files import replacing, write_json
from videomt_bench.weights import own
from videomt_bench.weights.family import Family, depth, joint_blocks, names_of, width
from videomt_bench.weights.identify import FAMILIES, Weights, WeightsInfo, open_weights
from videomt_bench.weights.loading import check_numbers, with_base
from videomt_bench.weights.reading import SAFETENSORS, TORCH_FILES
from videomt_bench.weights.rules import State

KINDS = ("ours", "official", "transformers")
HEAD_WIDTH = 64
"""Of every head of DINOv2 and DINOv3."""
DINOV3_EPSILON = 1e-5
"""Of the norms of DINOv3's blocks, in its own code and in timm; DINOv2 has 1e-6."""


@dataclass(frozen=True)
class Conversion:
    """What was written."""

    source: WeightsInfo
    family: str
    tensors: int
    files: tuple[str, ...]


def convert_weights(
    path: Path | str, to: str, out: Path | str, base: Path | str | None = None
) -> Conversion:
    """Write a file of weights in another layout.

    Args:
        path: see ``read_weights``.
        to: "ours", "official" or "transformers", or the name of a family.
        out: a ``.pth`` or ``.safetensors`` file; of transformers also a folder, which then has the
            configuration as well, for ``from_pretrained``.
        base: see ``load_weights``.

    Raises:
        BenchError: the file cannot be read or the target written, or there is no such layout of
            these tensors.
    """
    weights = with_base(open_weights(path), base)
    check_numbers(weights, weights.state)
    weights.info.spec()
    family, state = in_layout(weights, to)
    files = _write(Path(out), family, state, weights)
    return Conversion(weights.info, family.name, len(state), tuple(map(str, files)))


def in_layout(weights: Weights, to: str) -> tuple[Family, State]:
    """The family of a target that has a place for every tensor, and the tensors by its names.

    Raises:
        BenchError: there is none, or the file has tensors that no mapping table knows.
    """
    if weights.renamed.unknown:
        names = ", ".join(weights.renamed.unknown[:3])
        raise BenchError(
            f"weights of {weights.source!r} have {len(weights.renamed.unknown)} tensors that are "
            f"not known and would be lost, such as {names}"
        )
    targets = [f for f in FAMILIES if to in (f.kind, f.name) and not f.delta]
    if not targets:
        raise unknown("target", to, (*KINDS, *names_of(f for f in FAMILIES if not f.delta)))
    left = ""
    # a layout that fills in what another family is known by would fit as well
    for family in sorted(targets, key=lambda f: f is not weights.family):
        absent = next((n for n in weights.state if not family.layout.has_place(n)), None)
        if absent is None:
            renamed = family.layout.to_theirs(weights.state)
            if not renamed.unknown and family.fits(renamed.state):
                return family, renamed.state
        left = left or absent or ""
    names = f", which lack a place for {left}" if left else ""
    raise BenchError(
        f"weights of the family {weights.family.name!r} cannot be written as {to!r}; its layouts "
        f"are {', '.join(names_of(targets))}{names}"
    )


def port_config(info: WeightsInfo, state: State, kind: str) -> dict[str, Any]:
    """The configuration of a model of transformers, from our tensors."""
    dim, blocks, rotary = width(state), depth(state), kind.endswith("dinov3")
    labels = {str(i): f"LABEL_{i}" for i in range(info.num_classes or 0)}
    config: dict[str, Any] = {
        "model_type": kind,
        "hidden_size": dim,
        "num_hidden_layers": blocks,
        "num_attention_heads": dim // HEAD_WIDTH,
        "num_blocks": joint_blocks(blocks),
        "image_size": info.image_size,
        "patch_size": info.patch_size,
        "num_queries": info.num_queries,
        "id2label": labels,
        "label2id": {name: int(i) for i, name in labels.items()},
        "layer_norm_eps": DINOV3_EPSILON if rotary else 1e-6,
    }
    return config | ({"intermediate_size": 4 * dim} if rotary else {})


def _write(out: Path, family: Family, state: State, weights: Weights) -> list[Path]:
    state = {name: value.contiguous().clone() for name, value in state.items()}
    words = own.words_of(weights.info.positions) if family in own.FAMILIES else {}
    if out.suffix in TORCH_FILES:
        key = "model" if words else family.wrapped
        document = state if key is None else {key: state, **words}
        buffer = io.BytesIO()
        torch.save(document, buffer)
        return [_put(out, buffer.getvalue())]
    metadata = {"format": "pt", **words}
    if out.suffix == SAFETENSORS:
        return [_put(out, save(state, metadata))]
    if family.port is None or out.suffix:
        folder = "" if family.port is None else " or a folder"
        raise BenchError(
            f"cannot write weights to {str(out)!r}; valid: a file that ends in "
            f"{', '.join((*TORCH_FILES, SAFETENSORS))}{folder}"
        )
    config = {"architectures": [family.port]}
    config |= port_config(weights.info, weights.state, family.port_kind)
    write_json(out / "config.json", config, indent=2)
    return [_put(out / "model.safetensors", save(state, metadata)), out / "config.json"]


def _put(file: Path, content: bytes) -> Path:
    with replacing(file) as target:
        target.write(content)
    return file
