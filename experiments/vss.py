"""Video semantic segmentation of VidEoMT (arXiv 2602.17807): VSPW."""

_base_ = "_base/video_720p.py"

title = "Video semantic segmentation"
caption = (
    "VSPW, ViT-L, tested at a short side of 720. The paper trains on clips for 20,000 iterations, "
    "the public configurations of VidEoMT for 40,000; here it is 20,000."
)
published = "vss"
others = True
variants = ["dvis_plus", "step6_videomt", "step6_videomt_normalized"]
_dinov2 = "vit_large_patch14_reg4_dinov2"
_dinov3 = "vit_large_patch16_dinov3_qkvb.lvd1689m"
encoders = [dict(name=n, image_size=1280, weights="timm") for n in (_dinov2, _dinov3)]
sizes = {
    _dinov2: dict(label="DINOv2", setting="ViT-L, DINOv2, VSPW"),
    _dinov3: dict(label="DINOv3", setting="ViT-L, DINOv3, VSPW"),
}
datasets = ["vspw"]
changes = dict(
    step6_videomt=dict(only=[_dinov2]),
    step6_videomt_normalized=dict(only=[_dinov3], published="step6_videomt"),
    dvis_plus=dict(
        encoders={_dinov2: dict(name="vit_large_patch14_dinov2", image_size=592)},
        only=[_dinov2],
        recipe=dict(like="dvis_plus"),
    ),
)
