"""Table 7 of VidEoMT (arXiv 2602.17807): its temporal part on ViT-Adapter and Mask2Former."""

_base_ = "_base/ytvis_2019.py"

title = "Query propagation on another segmenter"
caption = (
    "ViT-L, DINOv2, YouTube-VIS 2019. The rows on ViT-Adapter + Mask2Former have the DINOv2 "
    "without registers at its own 37×37 grid."
)
published = "segmenters"
variants = ["mask2former_trackformer", "mask2former_fusion", "step6_videomt"]
encoders = [dict(name="vit_large_patch14_reg4_dinov2", image_size=640, weights="timm")]
_plain = dict(
    encoders=dict(
        vit_large_patch14_reg4_dinov2=dict(name="vit_large_patch14_dinov2", image_size=592)
    )
)
changes = dict(mask2former_trackformer=_plain, mask2former_fusion=_plain)
