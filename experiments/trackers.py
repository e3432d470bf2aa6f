"""Table 6 of VidEoMT (arXiv 2602.17807): EoMT with the trackers of decoupled systems.

The published cost of DVIS++ and DVIS-DAQ is that of their own test size, a short side of 480.
"""

_base_ = "_base/ytvis_2019.py"

title = "EoMT with existing trackers"
caption = (
    "ViT-L, DINOv2, YouTube-VIS 2019. The trackers of DVIS++ and DVIS-DAQ are tested at a short "
    "side of 480, all others at 448; cost is measured at 448×800 for all."
)
published = "trackers"

variants = ["step1_eomt_segmenter", "eomt_dvis_plus", "eomt_dvis_daq", "step6_videomt"]
encoders = [dict(name="vit_large_patch14_reg4_dinov2", image_size=640, weights="timm")]
_dvis_plus = dict(
    tracklets=True,
    identity_cosine_weight=3.0,
    prototype_weight=0.0,
    prototype_cosine_weight=0.0,
    first_reference=True,
    reference_cosine_weight=0.0,
)
changes = dict(
    eomt_dvis_plus=dict(
        recipe=dict(test=dict(short_side=480), video=dict(train=dict(losses=_dvis_plus)))
    ),
    eomt_dvis_daq=dict(recipe=dict(test=dict(short_side=480, top_k=20))),
)
