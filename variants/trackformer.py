"""A varying set of track queries enters a frame beside the learned ones.

TrackFormer (Meinhardt et al., CVPR 2022) as in VidEoMT (arXiv 2602.17807), Tab. A.
"""

from videomt_bench.models import EoMT, TrackQueries, TrackSlots, Variant

VARIANT = Variant(
    title="TrackFormer-style",
    segmenter=EoMT.from_spec,
    memory=TrackQueries,
    tracker=TrackSlots,
)
