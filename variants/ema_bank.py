"""Three running means of the output queries, fast to slow, instead of the last output alone.

Motivated by occlusion: what a query saw ten frames ago is still in the slow mean.
"""

import torch
from torch import Tensor, nn

from videomt_bench.models import EoMT, RecurrentMemory, SlotSizes, Variant

DECAYS = (0.0, 0.7, 0.95)


class EMABank(RecurrentMemory):
    """m_t = a m_{t-1} + (1 - a) output_t with a learned a for every mean and channel."""

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes, start)
        decays = torch.tensor(DECAYS).clamp(0.01, 0.99).logit()
        self.decay = nn.Parameter(decays[:, None].repeat(1, sizes.dim))
        self.mix = nn.Linear(len(DECAYS) * sizes.dim, sizes.dim)

    def first_hidden(self, start: Tensor) -> Tensor:
        return start[:, :, None].expand(-1, -1, len(DECAYS), -1)

    def cell(self, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        decay = self.decay.sigmoid()
        hidden = decay * hidden + (1 - decay) * outputs[:, :, None]
        return self.mix(hidden.flatten(2)), hidden


VARIANT = Variant(title="bank of running means", segmenter=EoMT.from_spec, memory=EMABank)
