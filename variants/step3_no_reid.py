"""Step 3: the tracker reads the queries themselves, no re-identification (VidEoMT, Tab. 1)."""

from functools import partial

from videomt_bench.models import CavisTracker, EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="3 − re-ID",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="none", reid=False, unused_heads=True),
)
