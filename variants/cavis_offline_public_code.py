"""CAVIS, offline, as its public code runs it: with the inverse of each permutation of queries.

Lee et al., ICCV 2025. Published weights were trained so. The refiner alone learns, on a trained
``cavis_public_code``.
"""

from functools import partial

from videomt_bench.models import (
    CavisTracker,
    LearnedQueries,
    Mask2Former,
    TemporalRefiner,
    Variant,
)

VARIANT = Variant(
    title="CAVIS (offline), public code",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="dense", unused_heads=True, inverse_matching=True),
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
    refiner=TemporalRefiner,
    online="cavis_public_code",
)
