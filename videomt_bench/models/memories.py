"""Query memories of VidEoMT (Norouzi et al., CVPR 2026, arXiv 2602.17807) and of its ablation, and
what recurrent memories share."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from videomt_bench.errors import unknown
from videomt_bench.models.contracts import FrameOutput, QueryMemory, State
from videomt_bench.models.variant import SlotSizes

STARTS = ("queries", "zeros", "noise", "learned")
"""How a hidden state may begin; see ``RecurrentMemory``."""


class LearnedQueries(QueryMemory):
    """The same learned queries enter every frame; nothing is remembered.

    Args:
        sizes: Q and D.
    """

    component = "memory"
    reads_masks = False

    def __init__(self, sizes: SlotSizes) -> None:
        super().__init__()
        self.learned = nn.Embedding(sizes.num_queries, sizes.dim)

    def first_queries(self, batch: int) -> Tensor:
        """The learned queries for each of ``batch`` streams: (B, Q, D)."""
        return self.learned.weight.expand(batch, -1, -1)

    def init_state(self, batch: int) -> State:
        return batch

    def queries(self, state: State) -> Tensor:
        return self.first_queries(state)

    def update(self, state: State, output: FrameOutput) -> State:
        return state


class QueryPropagation(LearnedQueries):
    """The output queries of a frame, before the final norm, enter the next one as they are.

    Args:
        sizes: Q and D.
        normalize: propagate the queries after the final norm instead.
    """

    def __init__(self, sizes: SlotSizes, normalize: bool = False) -> None:
        super().__init__(sizes)
        self.normalize = normalize

    def init_state(self, batch: int) -> State:
        return self.first_queries(batch)

    def queries(self, state: State) -> Tensor:
        return state

    def update(self, state: State, output: FrameOutput) -> State:
        return self.propagated(output)

    def propagated(self, output: FrameOutput) -> Tensor:
        """The queries (B, Q, D) that leave a frame."""
        return output.embeddings if self.normalize else output.queries


class QueryFusion(QueryPropagation):
    """Propagated queries pass one linear layer and are added to the learned ones.

    Q_t = W Q_{t-1} + b + Q_learned for t > 0, and Q_0 = Q_learned.
    """

    def __init__(self, sizes: SlotSizes, normalize: bool = False) -> None:
        super().__init__(sizes, normalize)
        self.fuse = nn.Linear(sizes.dim, sizes.dim)

    def update(self, state: State, output: FrameOutput) -> State:
        return self.fuse(self.propagated(output)) + self.learned.weight


class Recurrent(NamedTuple):
    """The state of a recurrent memory."""

    hidden: State
    """Of the cell."""
    queries: Tensor
    """What enters the next frame (B, Q, D)."""


class RecurrentMemory(LearnedQueries):
    """Every query has a hidden state, which a cell updates with the query's output.

    What the cell gives passes one linear layer and is added to the learned queries, as VidEoMT does
    with the output itself. So recurrent memories on EoMT (LVMT, arXiv 2609.34895) are built: a
    subclass says what its cell is.

    Args:
        sizes: Q and D.
        start: the hidden state before the first frame: the learned ``queries``, ``zeros``,
            ``noise`` (drawn anew for every clip in training, fixed otherwise), or a ``learned``
            vector that all queries share.

    Raises:
        BenchError: an unknown start.
    """

    def __init__(self, sizes: SlotSizes, start: str = "queries") -> None:
        super().__init__(sizes)
        if start not in STARTS:
            raise unknown("start of a hidden state", start, STARTS)
        self.start = start
        self.fuse = nn.Linear(sizes.dim, sizes.dim)
        if start == "learned":
            self.first = nn.Parameter(torch.zeros(sizes.dim))
        elif start == "noise":
            self.register_buffer("first", torch.randn(sizes.num_queries, sizes.dim))

    @abstractmethod
    def cell(self, outputs: Tensor, hidden: State) -> tuple[Tensor, State]:
        """Output queries (B, Q, D) and hidden state -> what is remembered (B, Q, D), next state."""

    def first_hidden(self, start: Tensor) -> State:
        """The hidden state of a cell that starts from (B, Q, D); by default just that."""
        return start

    def init_state(self, batch: int) -> Recurrent:
        queries = self.first_queries(batch)
        return Recurrent(self.first_hidden(self._start(queries)), queries)

    def queries(self, state: Recurrent) -> Tensor:
        return state.queries

    def update(self, state: Recurrent, output: FrameOutput) -> Recurrent:
        remembered, hidden = self.cell(output.queries, state.hidden)
        return Recurrent(hidden, self.fuse(remembered) + self.learned.weight)

    def _start(self, queries: Tensor) -> Tensor:
        if self.start == "queries":
            return queries
        if self.start == "zeros":
            return torch.zeros_like(queries)
        if self.start == "noise" and self.training:
            return torch.randn_like(queries)
        return self.first.expand_as(queries)


class GRUCell(nn.Module):
    """A gated recurrent unit (Cho et al., EMNLP 2014) of equal widths, as ``torch.nn.GRUCell``.

    Written with two linear layers, so that every counter and compiler sees them.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.input = nn.Linear(dim, 3 * dim)
        self.hidden = nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Input and hidden state (..., D) -> next hidden state (..., D)."""
        reset, update, candidate = self.input(x).chunk(3, -1)
        reset_h, update_h, candidate_h = self.hidden(hidden).chunk(3, -1)
        update = (update + update_h).sigmoid()
        new = (candidate + (reset + reset_h).sigmoid() * candidate_h).tanh()
        return update * hidden + (1 - update) * new
