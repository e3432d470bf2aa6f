"""What a file of weights is, decided from the names and shapes of its tensors alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models import ModelSpec
from videomt_bench.models.encoders import PositionRule
from videomt_bench.weights import cavis, daq, dvis, eomt, mask2former, own, ports, videomt
from videomt_bench.weights.backbones import NET, on_backbones
from videomt_bench.weights.encoders import (
    EncoderAlone,
    FoundEncoder,
    encoder_alone,
    find_encoder,
    find_pyramid,
)
from videomt_bench.weights.family import (
    ADAPTED_ENCODER,
    CLASS_HEADS,
    ENCODER,
    PYRAMID,
    Family,
    names_of,
)
from videomt_bench.weights.reading import read_weights, read_words, weight_file
from videomt_bench.weights.rules import Renamed, State, layout

ENCODER_ALONE = Family(
    "encoder",
    "an encoder alone",
    layout([("{rest}", ENCODER + "{rest}")]),
    marks=("{rest}",),
)
PYRAMID_ALONE = layout([("norm{i}.{p}", PYRAMID + "norms.{i}.{p}"), ("{rest}", NET + "{rest}")])
"""The names of an encoder alone, where it is a ResNet or a Swin transformer."""
FAMILIES: tuple[Family, ...] = (
    *own.FAMILIES,
    *eomt.FAMILIES,
    *videomt.FAMILIES,
    *ports.FAMILIES,
    *on_backbones((*cavis.FAMILIES, *daq.FAMILIES, *dvis.FAMILIES, *mask2former.FAMILIES)),
)
"""In the order in which they are tried."""

PARTS = {
    "encoder": ("segmenter.encoder.", "segmenter.adapter.encoder."),
    "adapter": ("segmenter.adapter.level_embed",),
    "pixel decoder": ("segmenter.pixel_decoder.",),
    "decoder": ("segmenter.decoder.",),
    "heads": ("segmenter.class_head.",),
    "queries": ("memory.learned.",),
    "query fusion": ("memory.fuse.",),
    "re-ID": ("tracker.appearance.",),
    "tracker": ("tracker.layers.", "tracker.heads."),
    "refiner": ("refiner.",),
}
"""Part of a model -> beginnings of our names, one of which it has."""
BUFFER = re.compile(
    r"\.(running_mean|running_var|num_batches_tracked)$"
    rf"|^{re.escape(NET)}.*\b(bn\d|downsample\.1)\.(weight|bias)$"
)
"""Batch norms of a pyramid are frozen."""
SIZED = (".weight", "pos_embed", "query_positions", "_token", "_tokens", "gamma")
"""Ends of names of tensors that are no scalars and not empty."""


@dataclass(frozen=True)
class WeightsInfo:
    """What a file of weights is."""

    family: str
    title: str
    variant: str | None
    """What it fills; None: a segmenter or an encoder alone, or not known."""
    segmenter_of: str | None
    """A variant whose segmenter it is, where it fills none."""
    encoder: str | None
    """timm's name."""
    image_size: int
    """Side of the image that its position grid covers; 0 of a pyramid, which has none."""
    patch_size: int
    """0 of a pyramid."""
    num_classes: int | None
    num_queries: int | None
    parts: tuple[str, ...]
    tensors: int
    parameters: int
    notes: tuple[str, ...] = ()
    positions: PositionRule = "timm"
    """How its authors resample learned positions; of a file of ours, what it says."""

    def spec(self) -> ModelSpec:
        """The sizes of a model that the weights fit.

        Raises:
            BenchError: they are not those of a whole segmenter that can be built here.
        """
        if self.encoder is None or self.num_classes is None or self.num_queries is None:
            raise BenchError(f"weights of the family {self.family!r} are no whole segmenter")
        found = FoundEncoder(self.encoder, self.patch_size, self.image_size)
        encoder = replace(found.spec(), positions=self.positions)
        return ModelSpec(encoder, self.num_classes, self.num_queries)

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Weights:
    """The tensors of a file by our names, and what the file is."""

    source: str
    """What a message calls the file."""
    family: Family
    info: WeightsInfo
    renamed: Renamed
    alone: EncoderAlone | None = None
    """The same by timm's names, of an encoder alone."""

    @property
    def state(self) -> State:
        """The tensors by our names."""
        return self.renamed.state

    def with_state(self, state: State) -> Weights:
        """The same with other tensors."""
        return replace(self, renamed=replace(self.renamed, state=state))


def open_weights(path: Path | str) -> Weights:
    """Read a file and say what it is.

    Raises:
        BenchError: it cannot be read, or is of no known family.
    """
    weights = identify(read_weights(path), str(weight_file(Path(path))))
    if weights.family not in own.FAMILIES:
        return weights
    rule = own.positions_in(read_words(path), weights.source)
    return replace(weights, info=replace(weights.info, positions=rule))


def identify(state: State, source: str) -> Weights:
    """Say what a state dict is, and give its tensors our names.

    Raises:
        BenchError: it is of no known family.
    """
    if family := find_family(state):
        try:
            renamed = family.layout.to_ours(state)
        except (ValueError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise BenchError(f"tensors of {source!r} do not go together: {reason}") from None
        return Weights(source, family, _info(family, state, renamed.state, source), renamed)
    try:
        _checked(state, source)
        alone = encoder_alone(state, source)
    except BenchError as error:
        raise BenchError(
            f"weights {source!r} are of no known family ({error}); valid: "
            + ", ".join(names_of((*FAMILIES, ENCODER_ALONE)))
        ) from None
    names = PYRAMID_ALONE if alone.pyramid else ENCODER_ALONE.layout
    renamed = replace(names.to_ours(alone.state), unused=alone.unused)
    info = _info(ENCODER_ALONE, state, renamed.state, source)
    return Weights(source, ENCODER_ALONE, info, renamed, alone)


def find_family(names: Collection[str]) -> Family | None:
    """The family whose names these are."""
    return next((f for f in FAMILIES if f.fits(names)), None)


def vit_tensors(state: Mapping[str, Tensor]) -> State:
    """The encoder's tensors of a state by our names, by timm's names."""
    return tensors_below(state, ENCODER) or tensors_below(state, ADAPTED_ENCODER)


def tensors_below(state: Mapping[str, Tensor], prefix: str) -> State:
    """The tensors whose names begin so, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _checked(state: Mapping[str, Tensor], source: str) -> None:
    """Raise a :class:`BenchError` where a tensor whose sizes tell something has none."""
    for name, value in state.items():
        if name.endswith(SIZED) and (value.dim() == 0 or 0 in value.shape):
            shape = "×".join(map(str, value.shape)) or "scalar"
            raise BenchError(f"{name} of {source!r} is {shape}, which no model has")


def _info(
    family: Family, raw: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str
) -> WeightsInfo:
    _checked(raw, source)
    encoder = _encoder(state)
    queries = state.get("memory.learned.weight")
    head = next((state[k] for k in CLASS_HEADS if k in state), None)
    classes = None if head is None else len(head) - 1
    variant = family.by_classes.get(classes, family.variant) if classes else family.variant
    adapted = any(name.startswith(ADAPTED_ENCODER) for name in state)
    return WeightsInfo(
        family=family.name,
        title=family.title,
        variant=variant,
        segmenter_of=family.segmenter_of,
        encoder=encoder.name,
        image_size=encoder.image_size,
        patch_size=encoder.patch_size,
        num_classes=classes,
        num_queries=None if queries is None else len(queries),
        parts=tuple(p for p, begin in PARTS.items() if any(k.startswith(begin) for k in state)),
        tensors=len(raw),
        parameters=sum(v.numel() for k, v in state.items() if not BUFFER.search(k)),
        notes=family.notes,
        # whatever is on a ViT-Adapter comes from one code
        positions="dinov2" if adapted and family.kind == "official" else "timm",
    )


def _encoder(state: Mapping[str, Tensor]) -> FoundEncoder:
    if net := tensors_below(state, NET):
        return find_pyramid(net)
    return find_encoder(vit_tensors(state))
