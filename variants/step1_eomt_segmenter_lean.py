"""Step 1 without work that changes no output: the dense filter and the unused heads of CAVIS.

Same weights and predictions as step1_eomt_segmenter.
"""

from functools import partial

from videomt_bench.models import CavisTracker, EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="1 segmenter → EoMT, lean",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="sum"),
)
