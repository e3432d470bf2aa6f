"""Table 8 of VidEoMT (arXiv 2602.17807): which pre-training the ViT-L starts from.

The paper names no checkpoints for IN-21K and IN-1K; these are the plain ViT-L of "How to train
your ViT" (arXiv 2106.10270) and of DeiT III (arXiv 2204.07118).
"""

_base_ = ["_base/ytvis_2019.py", "_base/cavis.py"]

title = "Pre-training of the encoder"
caption = (
    "ViT-L, YouTube-VIS 2019. The paper does not say which checkpoints stand for IN-21K and IN-1K."
)
published = "pretraining"
planned_variants = ["step0_cavis"]
variants = [*planned_variants, "step6_videomt"]
_dinov2 = "vit_large_patch14_reg4_dinov2"
_in21k = "vit_large_patch16_224.augreg_in21k"
_in1k = "deit3_large_patch16_224.fb_in1k"
_dinov3 = "vit_large_patch16_dinov3_qkvb.lvd1689m"
_eva02 = "eva02_large_patch14_224.mim_in22k"
_labels = {
    _dinov3: "DINOv3",
    _dinov2: "DINOv2",
    _eva02: "EVA-02",
    _in21k: "IN-21K",
    _in1k: "IN-1K",
}
encoders = [dict(name=name, image_size=640, weights="timm") for name in _labels]
sizes = {
    name: dict(label=label, setting=f"ViT-L, {label}, YouTube-VIS 2019")
    for name, label in _labels.items()
}
changes = dict(
    step0_cavis=dict(encoders={_dinov2: dict(name="vit_large_patch14_dinov2", image_size=592)})
)
