"""CAVIS as its public code runs it: with the inverse of each permutation of queries.

Lee et al., ICCV 2025. Published weights were trained and tested so. All else, the cost too, is that
of ``step0_cavis``.
"""

from functools import partial

from videomt_bench.models import CavisTracker, LearnedQueries, Mask2Former, Variant

VARIANT = Variant(
    title="CAVIS, public code",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="dense", unused_heads=True, inverse_matching=True),
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
)
