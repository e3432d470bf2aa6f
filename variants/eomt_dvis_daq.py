"""EoMT with the tracker of DVIS-DAQ, as in Table 6 of VidEoMT (arXiv 2602.17807)."""

from functools import partial

from videomt_bench.models import DaqTracker, EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="EoMT + DVIS-DAQ",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
    tracker=partial(DaqTracker, unused_heads=True),
    matching="new_instances",
    frozen=("segmenter", "memory"),
)
