"""What memories cost beside VidEoMT at ViT-L, and what a stream carries."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from videomt_bench.cost.count import count_macs
from videomt_bench.models import (
    EoMT,
    FrameOutput,
    QueryPropagation,
    SlotSizes,
    Variant,
    load_variant,
)
from videomt_bench.models.conformance import SIZE, SPEC

Q, D = 200, 1024


def gmacs(name: str) -> float:
    """Of one update with the queries that follow, at ViT-L."""
    with torch.device("meta"):
        memory = load_variant(name).memory(SlotSizes(Q, D, 40)).requires_grad_(False)
        queries, classes = torch.empty(1, Q, D), torch.empty(1, Q, 41)
    counter = FlopCounterMode(display=False)
    state = memory.init_state(1)
    with counter:
        output = FrameOutput(classes, classes[..., None][:, :, :0], queries, queries)
        memory.queries(memory.update(state, output))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("gru", 1, 2), ("memory_bank", 0.5, 5), ("s5", 0, 1), ("lstm", 1, 3), ("deep_gru", 2, 6)],
)
def test_the_overhead_over_videomt(name: str, least: float, most: float) -> None:
    assert least < gmacs(name) - gmacs("step6_videomt") < most


def test_the_fusion_of_videomt_is_one_linear_layer() -> None:
    assert gmacs("step6_videomt") == pytest.approx(Q * D * D / 1e9)


@pytest.mark.parametrize(
    ("name", "floats"),
    [
        ("step6_videomt", 1),
        ("gru", 2),
        ("lstm", 3),
        ("memory_bank", 11),
        ("step4_frame_by_frame", 0),
    ],
)
def test_what_a_stream_carries(name: str, floats: int) -> None:
    """In vectors of the width of a query: the state and the queries that enter next."""
    model = load_variant(name).build(SPEC).eval()
    width = SPEC.num_queries * model.segmenter.dim * 4
    assert count_macs(model, *SIZE).state_bytes == floats * width


def test_a_state_that_hands_tensors_on_is_counted() -> None:
    """As a bank of separate tensors does: the old ones are in the new state as they are."""

    class Bank(QueryPropagation):
        def init_state(self, batch: int) -> list[torch.Tensor]:
            return [self.first_queries(batch)] * 3

        def queries(self, state: list[torch.Tensor]) -> torch.Tensor:
            return state[-1]

        def update(self, state: list[torch.Tensor], output: FrameOutput) -> list[torch.Tensor]:
            return [*state[1:], output.queries]

    plain, bank = (
        Variant("x", EoMT.from_spec, memory, name="x").build(SPEC).eval()
        for memory in (QueryPropagation, Bank)
    )
    assert count_macs(bank, *SIZE).gmacs == count_macs(plain, *SIZE).gmacs
