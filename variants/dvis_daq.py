"""DVIS-DAQ: Mask2Former, and a tracker whose anchors on a frame's queries find new objects.

Zhou et al., ECCV 2024 (arXiv 2404.00086), at the cost of its public code: all layers of the tracker
predict masks, and the slot branch always runs. The segmenter is that of DVIS++, with identities
that nothing reads later; only the tracker learns from clips.
"""

from functools import partial

from videomt_bench.models import DaqTracker, LearnedQueries, Mask2Former, Variant

VARIANT = Variant(
    title="DVIS-DAQ",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(DaqTracker, reid=True, unused_heads=True),
    matching="new_instances",
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
)
