"""The outputs of the last frames are kept, and every query looks at its own (GenVIS-style).

Heo et al., GenVIS, CVPR 2023, remember instances so; LVMT (arXiv 2609.34895) compares it.
"""

from torch import Tensor, cat, nn

from videomt_bench.models import EoMT, RecurrentMemory, SlotSizes, Variant

FRAMES, HEADS = 5, 8


class MemoryBank(RecurrentMemory):
    """Attention of a query's output to its keys and values of the last frames, this one included.

    The bank starts full of the start, so that its size never changes. Keys know how old they are.
    """

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes, start)
        self.norm = nn.LayerNorm(sizes.dim)
        self.query = nn.Linear(sizes.dim, sizes.dim)
        self.key_value = nn.Linear(sizes.dim, 2 * sizes.dim)
        self.project = nn.Linear(sizes.dim, sizes.dim)
        self.age = nn.Parameter(0.02 * nn.Embedding(FRAMES, sizes.dim).weight.detach())

    def first_hidden(self, start: Tensor) -> Tensor:
        return self._entry(start).expand(-1, -1, FRAMES, -1)

    def cell(self, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        bank = cat([hidden[:, :, 1:], self._entry(outputs)], 2)
        key, value = bank.chunk(2, -1)
        query = self.query(self.norm(outputs)).unflatten(-1, (HEADS, -1))
        key, value = ((x).unflatten(-1, (HEADS, -1)) for x in (key + self.age, value))
        scores = (query[:, :, None] * key).sum(-1) * key.shape[-1] ** -0.5
        seen = (scores.softmax(2)[..., None] * value).sum(2)
        return outputs + self.project(seen.flatten(-2)), bank

    def _entry(self, outputs: Tensor) -> Tensor:
        """Keys and values (B, Q, 1, 2D)."""
        return self.key_value(self.norm(outputs))[:, :, None]


VARIANT = Variant(title="memory bank", segmenter=EoMT.from_spec, memory=MemoryBank)
