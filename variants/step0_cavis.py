"""Step 0, CAVIS: Mask2Former, and a tracker with context-aware features and re-identification.

Lee et al., ICCV 2025, at the cost of its public code: the context filter is a dense convolution,
and all layers of the tracker predict masks. Only the tracker learns from clips.
"""

from functools import partial

from videomt_bench.models import CavisTracker, LearnedQueries, Mask2Former, Variant

VARIANT = Variant(
    title="0 CAVIS",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="dense", unused_heads=True),
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
)
