"""DVIS-DAQ, offline: a temporal refiner goes over the best tracks of the whole video.

Zhou et al., arXiv 2404.00086; without convolutions, as published for YouTube-VIS 2019. The refiner
alone learns, on a trained ``dvis_daq``.
"""

from functools import partial

from videomt_bench.models import (
    DaqTracker,
    LearnedQueries,
    Mask2Former,
    TemporalRefiner,
    Variant,
)

VARIANT = Variant(
    title="DVIS-DAQ (offline)",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(DaqTracker, reid=True, unused_heads=True),
    matching="new_instances",
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
    refiner=partial(TemporalRefiner, short_term=False),
    online="dvis_daq",
)
