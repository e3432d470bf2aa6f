"""DVIS-DAQ, offline, whose refiner has the convolutions of DVIS++ over neighbouring frames.

Zhou et al., arXiv 2404.00086: so it is published for YouTube-VIS 2021 and, with ViT-L, OVIS; for
other data see ``dvis_daq_offline``. The refiner alone learns, on a trained ``dvis_daq``.
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
    title="DVIS-DAQ (offline, convolutions)",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(DaqTracker, reid=True, unused_heads=True),
    matching="new_instances",
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
    refiner=TemporalRefiner,
    online="dvis_daq",
)
