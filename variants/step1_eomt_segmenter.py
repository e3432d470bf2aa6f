"""Step 1: CAVIS with EoMT as its segmenter; the tracker is that of step 0 (VidEoMT, Tab. 1).

EoMT is trained without temporal supervision first, so identities are learned from clips only.
"""

from functools import partial

from videomt_bench.models import CavisTracker, EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="1 segmenter → EoMT",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="dense", unused_heads=True),
)
