"""The systems on Swin-L that VidEoMT (arXiv 2602.17807) prints beside its own."""

_base_ = "_base/ytvis_2019.py"

title = "Decoupled systems on Swin-L"
caption = (
    "Swin-L, pre-trained on ImageNet-22K, tested at a short side of 480 as in their public "
    "configurations, MinVIS on YouTube-VIS 2021 and 2022 at 360. Cost is measured at 480×864 for "
    "all; printed are means over videos of mixed sizes, for MinVIS on YouTube-VIS 2021 and 2022 "
    "of smaller ones. DVIS is counted with one prediction of its tracker per frame, the published "
    "code makes six; DVIS-DAQ is counted with 50 living tracks. On YouTube-VIS 2022 the models "
    "of 2021 are tested; published is the AP of its long videos."
)
published = "vis"
variants = ["minvis", "dvis", "dvis_daq"]
_swin = "swin_large_patch4_window12_384.ms_in22k"
encoders = [dict(name=_swin, weights="timm")]
sizes = {_swin: dict(label="Swin-L", setting="Swin-L, {dataset}")}
datasets = ["ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis"]
dataset_changes = dict(
    ytvis_2019=dict(title="YouTube-VIS 2019"),
    ytvis_2021=dict(title="YouTube-VIS 2021"),
    ytvis_2022=dict(title="YouTube-VIS 2022"),
    ovis=dict(title="OVIS"),
)
cost = dict(input=[480, 864])
changes = dict(
    minvis=dict(
        recipe=dict(like="minvis"),
        datasets=dict(
            ytvis_2019=dict(test=dict(short_side=480)), ovis=dict(test=dict(short_side=480))
        ),
    ),
    dvis=dict(recipe=dict(like="dvis")),
    dvis_daq=dict(recipe=dict(like="dvis_daq_480"), on=["ytvis_2019", "ytvis_2021", "ovis"]),
)
