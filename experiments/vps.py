"""Video panoptic segmentation of VidEoMT (arXiv 2602.17807): VIPSeg."""

_base_ = ["_base/video_720p.py", "_base/decoupled.py"]

title = "Video panoptic segmentation"
caption = "VIPSeg, ViT-L. All systems are tested at a short side of 720."
published = "vps"
others = True
variants = [
    "dvis_plus",
    "dvis_daq",
    "step0_cavis",
    "step6_videomt",
    "step6_videomt_normalized",
]
_dinov2 = "vit_large_patch14_reg4_dinov2"
_dinov3 = "vit_large_patch16_dinov3_qkvb.lvd1689m"
encoders = [dict(name=n, image_size=1280, weights="timm") for n in (_dinov2, _dinov3)]
sizes = {
    _dinov2: dict(label="DINOv2", setting="ViT-L, DINOv2, VIPSeg"),
    _dinov3: dict(label="DINOv3", setting="ViT-L, DINOv3, VIPSeg"),
}
datasets = ["vipseg"]
_plain = dict(
    encoders={_dinov2: dict(name="vit_large_patch14_dinov2", image_size=592)}, only=[_dinov2]
)
changes = dict(
    step6_videomt=dict(only=[_dinov2]),
    step6_videomt_normalized=dict(only=[_dinov3], published="step6_videomt"),
    step0_cavis=_plain,
    cavis_offline=_plain,
    dvis_plus=_plain,
    dvis_daq=_plain,
)
