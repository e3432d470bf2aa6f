"""Video instance segmentation of VidEoMT (arXiv 2602.17807): YouTube-VIS 2019, 2021, 2022 and OVIS.

Released YouTube-VIS and OVIS validation splits have no annotations: runs end in predictions for
the evaluation servers unless ``test_split`` names a split with truth.
"""

_base_ = ["_base/ytvis_2019.py", "_base/decoupled.py"]

title = "Video instance segmentation"
caption = (
    "ViT-L. DVIS++ and DVIS-DAQ are tested at a short side of 480, the others at 448; on OVIS "
    "VidEoMT and DVIS-DAQ are tested at 544. Cost is measured at 448×800 for all, on OVIS at "
    "544×992. On YouTube-VIS 2022 the models of 2021 are tested; published is the AP of its long "
    "videos."
)
published = "vis"
others = True
variants = ["dvis_plus", "dvis_daq", "step0_cavis", "step6_videomt"]
_dinov2 = "vit_large_patch14_reg4_dinov2"
_dinov3 = "vit_large_patch16_dinov3_qkvb.lvd1689m"
encoders = [dict(name=n, image_size=640, weights="timm") for n in (_dinov2, _dinov3)]
sizes = {
    _dinov2: dict(label="DINOv2", setting="ViT-L, DINOv2, {dataset}"),
    _dinov3: dict(label="DINOv3", setting="ViT-L, DINOv3, {dataset}"),
}
datasets = ["ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis"]
dataset_changes = dict(
    ytvis_2019=dict(title="YouTube-VIS 2019"),
    ytvis_2021=dict(title="YouTube-VIS 2021"),
    ytvis_2022=dict(title="YouTube-VIS 2022"),
    ovis=dict(title="OVIS", cost=dict(input=[544, 992])),
)
_plain = dict(
    encoders={_dinov2: dict(name="vit_large_patch14_dinov2", image_size=592)}, only=[_dinov2]
)
changes = dict(step0_cavis=_plain, cavis_offline=_plain, dvis_plus=_plain, dvis_daq=_plain)
