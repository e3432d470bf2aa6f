"""A variant: a choice in three slots. The ablation is nothing but a list of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from videomt_bench.errors import BenchError
from videomt_bench.models.encoders import EncoderSpec

if TYPE_CHECKING:
    from videomt_bench.models.contracts import FrameSegmenter, QueryMemory, Tracker
    from videomt_bench.models.video import VideoSegmenter

Matching = Literal["first_appearance", "per_frame"]


@dataclass(frozen=True)
class ModelSpec:
    """The sizes of a model, whatever its variant."""

    encoder: EncoderSpec
    num_classes: int
    num_queries: int = 200

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.num_queries < 1:
            raise BenchError(
                f"a model of {self.num_classes} classes and {self.num_queries} queries is not "
                "possible; both are at least 1"
            )


@dataclass(frozen=True)
class SlotSizes:
    """What a memory or a tracker needs to know of the segmenter it is used with."""

    num_queries: int
    dim: int
    num_classes: int


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Args:
        title: how a table names it.
        segmenter: model specification -> frame segmenter.
        memory: slot sizes -> query memory.
        tracker: slot sizes -> tracker; None for the query index.
        matching: which queries learn which objects in video training: "first_appearance" keeps
            an object on the query that got it when it first appeared, "per_frame" matches anew.
        name, summary, file: filled in when the gallery loads the file.
    """

    title: str
    segmenter: Callable[[ModelSpec], FrameSegmenter]
    memory: Callable[[SlotSizes], QueryMemory]
    tracker: Callable[[SlotSizes], Tracker] | None = None
    matching: Matching = "first_appearance"
    name: str = ""
    summary: str = ""
    file: str = ""

    def build(self, spec: ModelSpec) -> VideoSegmenter:
        """The model of this variant, at the sizes of ``spec``."""
        from videomt_bench.models.video import VideoSegmenter

        segmenter = self.segmenter(spec)
        sizes = SlotSizes(spec.num_queries, segmenter.dim, spec.num_classes)
        tracker = None if self.tracker is None else self.tracker(sizes)
        return VideoSegmenter(segmenter, self.memory(sizes), tracker)

    def slots(self) -> dict[str, str]:
        """The three choices by name."""
        return {
            "segmenter": slot_name(self.segmenter),
            "memory": slot_name(self.memory),
            "tracker": "QueryIndex" if self.tracker is None else slot_name(self.tracker),
        }


def slot_name(factory: Any) -> str:
    """A stable name of a slot's factory, with the arguments that a partial fixes."""
    if isinstance(factory, partial):
        options = ", ".join(f"{k}={v!r}" for k, v in sorted(factory.keywords.items()))
        return f"{slot_name(factory.func)}({options})"
    owner = getattr(factory, "__self__", None)
    return str((owner or factory).__name__)
