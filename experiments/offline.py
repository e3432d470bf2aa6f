"""Online and offline: DVIS++ (arXiv 2312.13305) and DVIS-DAQ (arXiv 2404.00086) with and without
their temporal refiners.

The offline run adds its refiner to the online one, so that the online model is trained once. The
refiner of DVIS-DAQ has convolutions where its public configurations have them.
"""

_base_ = "_base/ytvis_2019.py"

title = "Online and offline"
caption = (
    "ViT-L, tested at a short side of 480; published numbers are of the model zoo. Cost is "
    "measured at 448×800, on OVIS at 544×992, as in the main table; clocks time the online model."
)
published = "offline"
variants = [
    "dvis_plus",
    "dvis_plus_offline",
    "dvis_daq",
    "dvis_daq_offline",
    "dvis_daq_offline_conv",
]
_dinov2 = "vit_large_patch14_dinov2"
encoders = [dict(name=_dinov2, image_size=592, weights="timm")]
sizes = {_dinov2: dict(setting="ViT-L, DINOv2, {dataset}")}
datasets = ["ytvis_2019", "ytvis_2021", "ovis"]
dataset_changes = dict(
    ytvis_2019=dict(title="YouTube-VIS 2019"),
    ytvis_2021=dict(title="YouTube-VIS 2021"),
    ovis=dict(title="OVIS", cost=dict(input=[544, 992])),
)
recipe = dict(like="dvis_plus")
_daq = dict(recipe=dict(like="dvis_daq"), datasets=dict(ovis=dict(like="dvis_daq_480")))
changes = dict(
    dvis_daq=_daq,
    dvis_daq_offline=dict(_daq, on=["ytvis_2019"]),
    dvis_daq_offline_conv=dict(_daq, on=["ytvis_2021", "ovis"], published="dvis_daq_offline"),
)
