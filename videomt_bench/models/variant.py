"""A variant: a choice in three slots. The ablation is nothing but a list of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from videomt_bench.errors import BenchError
from videomt_bench.models.encoders import EncoderSpec

if TYPE_CHECKING:
    from videomt_bench.models.contracts import FrameSegmenter, QueryMemory, Tracker
    from videomt_bench.models.refiner import TemporalRefiner
    from videomt_bench.models.video import VideoSegmenter

Matching = Literal["first_appearance", "per_frame", "new_instances", "whole_clip"]


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of the decoupled systems' parts; the defaults are those of CAVIS and Mask2Former.

    ``dim``, ``heads`` and ``ffn`` are those of pixel decoder, transformer decoder and tracker,
    ``pixel_ffn`` of the pixel decoder's encoder. ``prior`` is the stem width of the adapter's
    spatial prior. ``context_filter`` is the side of the averaging filter of context features.
    """

    dim: int = 256
    heads: int = 8
    ffn: int = 2048
    layers: int = 9
    pixel_layers: int = 6
    pixel_ffn: int = 1024
    prior: int = 64
    tracker_layers: int = 6
    context_filter: int = 9


SMALL_DECODERS = {
    "vit_tiny_conv_patch8": DecoderSizes(
        dim=64,
        heads=4,
        ffn=128,
        layers=3,
        pixel_layers=2,
        pixel_ffn=128,
        prior=16,
        tracker_layers=3,
        context_filter=3,
    )
}
"""Encoders for training from scratch -> sizes of the parts that go with them."""


@dataclass(frozen=True)
class TrackSelection:
    """When a tracker of a varying set of tracks takes a query for an object, in evaluation.

    All are probabilities of the likeliest class, which must be above them (DVIS-DAQ, arXiv
    2404.00086: a ``score`` of 0.1 and ``confirmed`` 0.01 on OVIS, the defaults on others).
    ``first`` is the segmenter's in the first frame, ``score`` the tracker's in later ones,
    ``confirmed`` that of its slot branch for tracks; None does not ask.
    """

    first: float = 0.01
    score: float = 0.01
    confirmed: float | None = None

    def __post_init__(self) -> None:
        for name in ("first", "score", "confirmed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise BenchError(
                    f"a threshold {name!r} of {value} is no probability; valid: from 0 to below 1"
                )


@dataclass(frozen=True)
class ModelSpec:
    """The sizes of a model, whatever its variant. ``decoder`` None: by the encoder."""

    encoder: EncoderSpec
    num_classes: int
    num_queries: int = 200
    decoder: DecoderSizes | None = None
    selection: TrackSelection = TrackSelection()

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.num_queries < 1:
            raise BenchError(
                f"a model of {self.num_classes} classes and {self.num_queries} queries is not "
                "possible; both are at least 1"
            )

    @property
    def sizes(self) -> DecoderSizes:
        """The sizes of decoders and trackers."""
        return self.decoder or SMALL_DECODERS.get(self.encoder.name, DecoderSizes())


@dataclass(frozen=True)
class SlotSizes:
    """What a memory or a tracker needs to know of the segmenter it is used with."""

    num_queries: int
    dim: int
    """Width of queries and of mask features."""
    num_classes: int
    decoder: DecoderSizes = field(default_factory=DecoderSizes)
    selection: TrackSelection = TrackSelection()


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Args:
        title: how a table names it.
        segmenter: model specification -> frame segmenter.
        memory: slot sizes -> query memory.
        tracker: slot sizes -> tracker; None for the query index.
        matching: which queries learn which objects in video training: "first_appearance" keeps
            an object on the query that got it when it first appeared, "per_frame" matches anew,
            "new_instances" gives the objects of no track to queries that look for new ones,
            "whole_clip" takes a clip for one image.
        frozen: parts that the video stage leaves as the segmenter stage made them, such as
            "segmenter" or "tracker.appearance".
        joint_stage: whether a part of the tracker (its ``image_stage``) learns in the segmenter
            stage; such a segmenter is shared only by variants with the same tracker.
        refiner: slot sizes -> refiner of whole videos, which makes the variant an offline one; its
            tracker must have ``to_refine``.
        online: the name of the variant whose trained model the refiner is added to.
        name, summary, file: filled in when the gallery loads the file.
    """

    title: str
    segmenter: Callable[[ModelSpec], FrameSegmenter]
    memory: Callable[[SlotSizes], QueryMemory]
    tracker: Callable[[SlotSizes], Tracker] | None = None
    matching: Matching = "first_appearance"
    frozen: tuple[str, ...] = ()
    joint_stage: bool = False
    refiner: Callable[[SlotSizes], TemporalRefiner] | None = None
    online: str = ""
    name: str = ""
    summary: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if (self.refiner is None) == bool(self.online):
            raise BenchError(
                f"variant {self.title!r} must have both a refiner and the name of its online "
                "variant, or neither"
            )

    def build(self, spec: ModelSpec) -> VideoSegmenter:
        """The model of this variant, at the sizes of ``spec``."""
        from videomt_bench.models.video import VideoSegmenter

        segmenter = self.segmenter(spec)
        shared = spec.num_classes, spec.sizes, spec.selection
        sizes = SlotSizes(spec.num_queries, segmenter.dim, *shared)
        tracker = None if self.tracker is None else self.tracker(sizes)
        refiner = None if self.refiner is None else self.refiner(sizes)
        return VideoSegmenter(segmenter, self.memory(sizes), tracker, refiner)

    def slots(self) -> dict[str, str]:
        """The three choices by name, and the refiner where there is one."""
        slots = {
            "segmenter": slot_name(self.segmenter),
            "memory": slot_name(self.memory),
            "tracker": "QueryIndex" if self.tracker is None else slot_name(self.tracker),
        }
        return slots if self.refiner is None else {**slots, "refiner": slot_name(self.refiner)}


def slot_name(factory: Any) -> str:
    """A stable name of a slot's factory, with the arguments that a partial fixes."""
    if isinstance(factory, partial):
        options = ", ".join(f"{k}={v!r}" for k, v in sorted(factory.keywords.items()))
        return f"{slot_name(factory.func)}({options})"
    owner = getattr(factory, "__self__", None)
    return str((owner or factory).__name__)
