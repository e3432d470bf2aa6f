"""Small models to count and to time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from videomt_bench.cost import count as counting
from videomt_bench.models.contracts import FrameFeatures, FrameOutput, FrameSegmenter
from videomt_bench.models.encoders import EncoderSpec
from videomt_bench.models.eomt import EoMT
from videomt_bench.models.memories import QueryFusion
from videomt_bench.models.trackers import QueryIndex
from videomt_bench.models.variant import ModelSpec, SlotSizes
from videomt_bench.models.video import VideoSegmenter

QUERIES, DIM, CLASSES = 5, 8, 3


class ToySegmenter(FrameSegmenter):
    """One strided convolution, one extra module on the queries, and the product of both."""

    def __init__(self, extra: nn.Module | None = None) -> None:
        super().__init__()
        self.dim, self.num_classes, self.stride = DIM, CLASSES, 4
        self.patches = nn.Conv2d(3, DIM, 4, 4)
        self.extra = nn.Identity() if extra is None else extra
        self.classes = nn.Linear(DIM, CLASSES + 1)

    def encode(self, frames: Tensor) -> FrameFeatures:
        return FrameFeatures({"patches": self.patches(frames)}, tuple(frames.shape[-2:]))

    def decode(self, features: FrameFeatures, queries: Tensor) -> FrameOutput:
        queries = self.extra(queries)
        masks = torch.einsum("bqd,bdhw->bqhw", queries, features.maps["patches"])
        return FrameOutput(self.classes(queries), masks, queries, queries)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def toy():
    """Builds a toy model with what replaces a part of it."""

    def build(extra=None, memory=None, tracker=None):
        memory = QueryFusion(SlotSizes(QUERIES, DIM, CLASSES)) if memory is None else memory
        return VideoSegmenter(ToySegmenter(extra), memory, tracker or QueryIndex())

    return build


@pytest.fixture(params=["shapes", "values"])
def way(request, monkeypatch):
    """Both ways to count, each without the other."""
    name = {"shapes": "_from_values", "values": "_from_shapes"}[request.param]

    def refuse(*_):
        raise AssertionError(name)

    monkeypatch.setattr(counting, name, refuse)


@pytest.fixture
def videomt():
    """Builds VidEoMT; on the meta device it has no weights and costs nothing."""

    def build(encoder, queries, device="cpu", memory=QueryFusion, tracker=None):
        with torch.device(device):
            segmenter = EoMT.from_spec(ModelSpec(EncoderSpec(encoder, image_size=64), 40, queries))
            sizes = SlotSizes(queries, segmenter.dim, 40)
            return VideoSegmenter(segmenter, memory(sizes), tracker)

    return build
