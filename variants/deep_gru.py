"""Three gated recurrent units on top of each other, for every query.

One of the memory cells that LVMT (arXiv 2609.34895) compares; how deep its own is, it does not say.
"""

from torch import Tensor, nn

from videomt_bench.models import EoMT, GRUCell, RecurrentMemory, SlotSizes, Variant

LAYERS = 3


class DeepGRU(RecurrentMemory):
    """Layer i reads what layer i-1 remembers; all are summed, so that none is needed at first."""

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes, start)
        self.layers = nn.ModuleList(GRUCell(sizes.dim) for _ in range(LAYERS))

    def first_hidden(self, start: Tensor) -> tuple[Tensor, ...]:
        return (start,) * LAYERS

    def cell(
        self, outputs: Tensor, hidden: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        following: list[Tensor] = []
        for layer, h in zip(self.layers, hidden, strict=True):
            following.append(layer(following[-1] if following else outputs, h))
        return sum(following, start=following[0] * 0), tuple(following)


VARIANT = Variant(title="deep GRU", segmenter=EoMT.from_spec, memory=DeepGRU)
