"""DVIS, offline: a temporal refiner goes over the tracks of the whole video.

Zhang et al., ICCV 2023. The refiner alone learns, on a trained ``dvis``.
"""

from videomt_bench.models import (
    DvisTracker,
    LearnedQueries,
    Mask2Former,
    TemporalRefiner,
    Variant,
)

VARIANT = Variant(
    title="DVIS (offline)",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=DvisTracker,
    frozen=("segmenter", "memory"),
    refiner=TemporalRefiner,
    online="dvis",
)
