"""Step 0 without work that changes no output: the dense filter and the unused heads of CAVIS.

Same weights and predictions as step0_cavis; what it saves is no merit of the steps after it.
"""

from functools import partial

from videomt_bench.models import CavisTracker, LearnedQueries, Mask2Former, Variant

VARIANT = Variant(
    title="0 CAVIS, lean",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=partial(CavisTracker, context="sum"),
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
)
