"""VidEoMT's fusion, weighted by how likely the query has an object: the soft form of a reset."""

from torch import Tensor

from videomt_bench.models import EoMT, FrameOutput, QueryFusion, Variant


class ObjectFusion(QueryFusion):
    """Q_t = p (W Q_{t-1} + b) + Q_learned, with p the probability of an object in t-1."""

    def update(self, state: Tensor, output: FrameOutput) -> Tensor:
        objectness = 1 - output.class_logits.softmax(-1)[..., -1:]
        return objectness * self.fuse(self.propagated(output)) + self.learned.weight


VARIANT = Variant(title="fusion by objectness", segmenter=EoMT.from_spec, memory=ObjectFusion)
