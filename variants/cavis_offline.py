"""CAVIS, offline: a temporal refiner goes over the tracks of the whole video.

Lee et al., ICCV 2025; the refiner is that of DVIS++. It alone learns, on a trained ``step0_cavis``.
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
    title="CAVIS (offline)",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="dense", unused_heads=True),
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
    refiner=TemporalRefiner,
    online="step0_cavis",
)
