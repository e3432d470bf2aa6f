"""Query memories of VidEoMT (Norouzi et al., CVPR 2026, arXiv 2602.17807) and of its ablation."""

from __future__ import annotations

from torch import Tensor, nn

from videomt_bench.models.contracts import FrameOutput, QueryMemory, State
from videomt_bench.models.variant import SlotSizes


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
