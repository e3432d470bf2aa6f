"""DVIS++, offline: a temporal refiner goes over the tracks of the whole video.

Zhang et al., arXiv 2312.13305. The refiner alone learns, on a trained ``dvis_plus``.
"""

from functools import partial

from videomt_bench.models import (
    DvisPlusTracker,
    LearnedQueries,
    Mask2Former,
    TemporalRefiner,
    Variant,
)

VARIANT = Variant(
    title="DVIS++ (offline)",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=DvisPlusTracker,
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
    refiner=partial(TemporalRefiner, widening=2),
    online="dvis_plus",
)
