"""A gated recurrent unit for every query, in the place of VidEoMT's memory of one frame.

LVMT (arXiv 2609.34895) builds its memory so; the cell is that of Cho et al., EMNLP 2014.
"""

from torch import Tensor

from videomt_bench.models import EoMT, GRUCell, RecurrentMemory, SlotSizes, Variant


class GRU(RecurrentMemory):
    """h_t = GRU(output_t, h_{t-1}); what enters the next frame is W h_t + b + learned."""

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes, start)
        self.gru = GRUCell(sizes.dim)

    def cell(self, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.gru(outputs, hidden)
        return hidden, hidden


VARIANT = Variant(title="GRU", segmenter=EoMT.from_spec, memory=GRU)
