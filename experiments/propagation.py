"""Table A of VidEoMT (arXiv 2602.17807, supplement): what a frame's queries know of the past."""

_base_ = "_base/ytvis_2019.py"

title = "How queries carry information from frame to frame"
caption = (
    "ViT-L, DINOv2, YouTube-VIS 2019. TrackFormer-style propagation keeps queries with a score "
    "above 0.8 beside the learned ones and drops them after 5 absent frames."
)
published = "propagation"
variants = [
    "step4_frame_by_frame",
    "step5_propagation",
    "nonobject_reset",
    "trackformer",
    "step6_videomt",
]
encoders = [dict(name="vit_large_patch14_reg4_dinov2", image_size=640, weights="timm")]
changes = dict(nonobject_reset=dict(published="propagation_reset"))
