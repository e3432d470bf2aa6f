"""Step 2: no context-aware features; re-ID reads the queries alone (VidEoMT, Tab. 1)."""

from functools import partial

from videomt_bench.models import CavisTracker, EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="2 − context features",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="none", unused_heads=True),
)
