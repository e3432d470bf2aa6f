"""Slots read the outputs of all queries by content and compete for them.

The update of Slot Attention (Locatello et al., NeurIPS 2020) between frames: an object that another
query took over in this frame still reaches the slot that remembers it.
"""

from torch import Tensor, nn

from videomt_bench.models import EoMT, GRUCell, RecurrentMemory, SlotSizes, Variant


class SlotMemory(RecurrentMemory):
    """Attention from slots to outputs, normalised over slots, then a gated recurrent unit."""

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes, start)
        self.slot_norm = nn.LayerNorm(sizes.dim)
        self.output_norm = nn.LayerNorm(sizes.dim)
        self.query = nn.Linear(sizes.dim, sizes.dim, bias=False)
        self.key_value = nn.Linear(sizes.dim, 2 * sizes.dim, bias=False)
        self.gru = GRUCell(sizes.dim)

    def cell(self, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        key, value = self.key_value(self.output_norm(outputs)).chunk(2, -1)
        query = self.query(self.slot_norm(hidden))
        share = (query @ key.mT * key.shape[-1] ** -0.5).softmax(1)
        read = share / (share.sum(-1, keepdim=True) + 1e-6) @ value
        hidden = self.gru(read, hidden)
        # a slot without a memory of its own yet is led by the query of its number
        return hidden + outputs, hidden


VARIANT = Variant(title="slot memory", segmenter=EoMT.from_spec, memory=SlotMemory)
