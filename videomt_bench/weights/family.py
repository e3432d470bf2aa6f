"""What a family of checkpoints is: how it is recognised, its names, and the model that it fills."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from videomt_bench.models.encoders import JOINT_BLOCKS
from videomt_bench.weights.rules import Layout, has_name

Target = Literal["ours", "official", "transformers"]
NO_OBJECT_WEIGHT = 0.1
"""Of the class loss, in all families."""


@dataclass(frozen=True)
class Family:
    """A layout of checkpoints and where it is found.

    Args:
        name: a short one, for tables and options.
        title: what it is, in words.
        layout: its names and ours.
        marks: templates of names, each of which such a file has.
        without: templates of names that it does not have.
        kind: who writes files so.
        variant: what the tensors fill; None for a segmenter or an encoder alone.
        segmenter_of: a variant whose segmenter stage gives such a segmenter.
        by_classes: number of classes -> the variant instead, where it depends on the data set.
        notes: what ``inspect`` says besides.
        wrapped: where the state dict lies in a PyTorch file of this family; None: it is the file.
        port, port_kind: the class of transformers that reads such a file, and what its
            configuration calls it.
        delta: the file holds differences from the pre-trained encoder.
    """

    name: str
    title: str
    layout: Layout
    marks: tuple[str, ...]
    without: tuple[str, ...] = ()
    kind: Target = "official"
    variant: str | None = None
    segmenter_of: str | None = None
    by_classes: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    wrapped: str | None = "model"
    port: str | None = None
    port_kind: str = ""
    delta: bool = False

    def fits(self, names: Collection[str]) -> bool:
        """Whether a file with these names is of this family."""
        return all(has_name(names, m) for m in self.marks) and not any(
            has_name(names, m) for m in self.without
        )


ENCODER = "segmenter.encoder.vit."
ADAPTED_ENCODER = "segmenter.adapter.encoder.vit."
PYRAMID = "segmenter.encoder."
"""Of a ResNet or a Swin transformer: ``net`` and ``norms``."""
CLASS_HEADS = ("segmenter.class_head.weight", "segmenter.decoder.heads.class_embed.weight")


def names_of(families: Iterable[Family]) -> list[str]:
    """The names of families, each once: a family is there on every backbone."""
    return list(dict.fromkeys(family.name for family in families))


def width(state: Mapping[str, Tensor]) -> int:
    """The width D of the encoder of a state by our names."""
    name = next(k for k in state if k.endswith(".blocks.0.norm1.weight"))
    return len(state[name])


def depth(names: Collection[str]) -> int:
    """How many blocks the encoder has."""
    blocks = {n.split(".blocks.")[1].split(".")[0] for n in names if ".vit.blocks." in n}
    return len(blocks)


def joint_blocks(blocks: int) -> int:
    """How many of the last blocks see queries, as ``build_encoder`` has it."""
    return JOINT_BLOCKS.get(blocks, max(1, blocks // 4))


def empty_weight(state: Mapping[str, Tensor]) -> Tensor:
    """The weights of the classes in the loss (C + 1): 1, and less for no-object."""
    name = next(k for k in CLASS_HEADS if k in state)
    weights = torch.ones(len(state[name]))
    weights[-1] = NO_OBJECT_WEIGHT
    return weights


def mask_probabilities(state: Mapping[str, Tensor]) -> Tensor:
    """How likely each joint block masks attention at the end of training: never."""
    return torch.zeros(joint_blocks(depth(state)))


def token_of_zeros(state: Mapping[str, Tensor]) -> Tensor:
    """A mask token (1, 1, D)."""
    return torch.zeros(1, 1, width(state))
