"""Step 5: the output queries of a frame replace the learned ones in the next (VidEoMT, Tab. 1)."""

from videomt_bench.models import EoMT, QueryPropagation, Variant

VARIANT = Variant(
    title="5 + query propagation",
    segmenter=EoMT.from_spec,
    memory=QueryPropagation,
)
