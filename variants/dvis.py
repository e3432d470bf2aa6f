"""DVIS: MinVIS's segmenter and a referring tracker (Zhang et al., ICCV 2023).

Only the tracker learns from clips. The published systems have Swin and ResNet-50 encoders.
"""

from videomt_bench.models import DvisTracker, LearnedQueries, Mask2Former, Variant

VARIANT = Variant(
    title="DVIS",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=DvisTracker,
    frozen=("segmenter", "memory"),
)
