"""Track queries enter a frame beside the learned ones, on ViT-Adapter + Mask2Former.

TrackFormer (Meinhardt et al., CVPR 2022) as in VidEoMT (arXiv 2602.17807), Tab. 7.
"""

from videomt_bench.models import Mask2Former, TrackQueries, TrackSlots, Variant

VARIANT = Variant(
    title="Mask2Former + TrackFormer-style",
    segmenter=Mask2Former.from_spec,
    memory=TrackQueries,
    tracker=TrackSlots,
)
