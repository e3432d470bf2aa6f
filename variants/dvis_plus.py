"""DVIS++: Mask2Former with identities, and a referring tracker trained with noise.

Zhang et al., arXiv 2312.13305. The segmenter learns as in CTVIS, from clips too; then only the
tracker does.
"""

from videomt_bench.models import DvisPlusTracker, LearnedQueries, Mask2Former, Variant

VARIANT = Variant(
    title="DVIS++",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=DvisPlusTracker,
    frozen=("segmenter", "memory", "tracker.appearance"),
    joint_stage=True,
)
