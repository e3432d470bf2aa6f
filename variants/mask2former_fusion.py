"""VidEoMT's propagation and fusion on ViT-Adapter + Mask2Former (arXiv 2602.17807, Tab. 7)."""

from videomt_bench.models import Mask2Former, QueryFusion, Variant

VARIANT = Variant(
    title="Mask2Former + query fusion",
    segmenter=Mask2Former.from_spec,
    memory=QueryFusion,
)
