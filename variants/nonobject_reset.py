"""Propagation in which queries without an object start anew (VidEoMT, arXiv 2602.17807, Tab. A)."""

from torch import Tensor

from videomt_bench.models import EoMT, FrameOutput, QueryPropagation, Variant


class NonObjectReset(QueryPropagation):
    """The output of a query whose likeliest class is no-object is replaced by its learned query."""

    def update(self, state: Tensor, output: FrameOutput) -> Tensor:
        last = output.class_logits.shape[-1] - 1
        empty = output.class_logits.argmax(-1, keepdim=True) == last
        return self.propagated(output).where(~empty, self.learned.weight)


VARIANT = Variant(
    title="propagation, non-objects reset", segmenter=EoMT.from_spec, memory=NonObjectReset
)
