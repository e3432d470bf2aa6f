"""A diagonal state space for every query: S5 (Smith et al., ICLR 2023).

One of the memory cells that LVMT (arXiv 2609.34895) compares.
"""

import math

import torch
from torch import Tensor, nn

from videomt_bench.models import EoMT, RecurrentMemory, SlotSizes, Variant

STATES = 64
"""Complex numbers that a query keeps; conjugate pairs are kept once."""


class S5(RecurrentMemory):
    """x_t = exp(Λ Δ) x_{t-1} + (exp(Λ Δ) - 1) Λ⁻¹ B u_t, and y_t = 2 Re(C x_t) + D u_t.

    Λ, Δ, B, C and D are learned; Λ starts at -1/2 + iπn (S4D-Lin: Gu et al., NeurIPS 2022) and Δ
    between 0.001 and 0.1. Complex numbers are pairs of real ones, first along the last axis but
    one: x is (B, Q, 2, P). The start of the hidden state is what the first x would be after it.
    """

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes, start)
        self.log_decay = nn.Parameter(torch.full((STATES,), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(STATES))
        self.log_step = nn.Parameter(torch.linspace(math.log(0.001), math.log(0.1), STATES))
        self.read = nn.Linear(sizes.dim, 2 * STATES, bias=False)
        self.write = nn.Linear(2 * STATES, sizes.dim, bias=False)
        self.skip = nn.Parameter(torch.ones(sizes.dim))

    def first_hidden(self, start: Tensor) -> Tensor:
        return self._driven(start)

    def cell(self, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        power, _ = self._discrete()
        hidden = _times(power, hidden) + self._driven(outputs)
        return 2 * self.write(hidden.flatten(-2)) + self.skip * outputs, hidden

    def _driven(self, u: Tensor) -> Tensor:
        """What an input (B, Q, D) adds to the state (B, Q, 2, P)."""
        return _times(self._discrete()[1], self.read(u).unflatten(-1, (2, STATES)))

    def _discrete(self) -> tuple[Tensor, Tensor]:
        """exp(Λ Δ) and (exp(Λ Δ) - 1) Λ⁻¹, each (2, P)."""
        decay, step = self.log_decay.exp(), self.log_step.exp()
        angle, radius = self.frequency * step, (-decay * step).exp()
        power = torch.stack([radius * angle.cos(), radius * angle.sin()])
        less_one = torch.stack([power[0] - 1, power[1]])
        inverse = torch.stack([-decay, -self.frequency]) / (decay**2 + self.frequency**2)
        return power, _times(inverse, less_one)


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Products of complex numbers (..., 2, P)."""
    (x, y), (u, v) = a.unbind(-2), b.unbind(-2)
    return torch.stack([x * u - y * v, x * v + y * u], -2)


VARIANT = Variant(title="S5", segmenter=EoMT.from_spec, memory=S5)
