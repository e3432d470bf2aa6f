"""The six data sets of VidEoMT (arXiv 2602.17807) by name, as ``datasets`` of an experiment.

Instance data sets learn from as many pseudo-videos of COCO as of their own. YouTube-VIS 2022 has no
training videos of its own: the model of 2021 is tested on it.
"""


def _dataset(
    name: str, folder: str, num_classes: int, test_split: str = "val", **more: object
) -> dict:
    return dict(
        name=name,
        layout=name,
        root=f"datasets/{folder}",
        num_classes=num_classes,
        train_split="train",
        test_split=test_split,
        **more,
    )


def _coco(layout: str) -> list[dict]:
    return [dict(name=layout, layout=layout, root="datasets/coco", split="train", ratio=1.0)]


_ytvis_2021 = _dataset("ytvis_2021", "ytvis_2021", 40, "valid", mixture=_coco("coco2ytvis2021"))
datasets = dict(
    ytvis_2019=_dataset("ytvis_2019", "ytvis_2019", 40, "valid", mixture=_coco("coco2ytvis2019")),
    ytvis_2021=_ytvis_2021,
    ytvis_2022=_dataset("ytvis_2022", "ytvis_2022", 40, "valid", trained_on=_ytvis_2021),
    ovis=_dataset("ovis", "ovis", 25, "valid", mixture=_coco("coco2ovis")),
    vipseg=_dataset("vipseg", "VIPSeg", 124),
    vspw=_dataset("vspw", "VSPW", 124),
)
