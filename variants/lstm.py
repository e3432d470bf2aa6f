"""A long short-term memory for every query (Hochreiter and Schmidhuber, 1997).

One of the memory cells that LVMT (arXiv 2609.34895) compares.
"""

import torch
from torch import Tensor, nn

from videomt_bench.models import EoMT, RecurrentMemory, SlotSizes, Variant


class LSTM(RecurrentMemory):
    """(h_t, c_t) = LSTM(output_t, h_{t-1}, c_{t-1}), as ``torch.nn.LSTMCell``; h_t is remembered.

    The start is that of h; c starts at zero.
    """

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes, start)
        self.input = nn.Linear(sizes.dim, 4 * sizes.dim)
        self.hidden = nn.Linear(sizes.dim, 4 * sizes.dim)

    def first_hidden(self, start: Tensor) -> tuple[Tensor, Tensor]:
        return start, torch.zeros_like(start)

    def cell(
        self, outputs: Tensor, hidden: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = hidden
        write, keep, new, read = (self.input(outputs) + self.hidden(h)).chunk(4, -1)
        c = keep.sigmoid() * c + write.sigmoid() * new.tanh()
        h = read.sigmoid() * c.tanh()
        return h, (h, c)


VARIANT = Variant(title="LSTM", segmenter=EoMT.from_spec, memory=LSTM)
