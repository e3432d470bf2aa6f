"""Tables 9 and B of VidEoMT (arXiv 2602.17807): ViT-L, B and S.

CAVIS has the DINOv2 without registers at its own 37×37 grid, the others the one with registers.
"""

_base_ = ["_base/ytvis_2019.py", "_base/cavis.py"]

title = "Model size"
caption = (
    "DINOv2, YouTube-VIS 2019. The published GFLOPs of CAVIS-B and -S leave out the attention "
    "products of the ViT; here they are counted in every row. The public configurations of "
    "VidEoMT-S and -B stop at 40,000 iterations on clips; here every row gets 160,000."
)
published = "scale"
planned_variants = ["step0_cavis", "step1_eomt_segmenter"]
variants = [*planned_variants, "step6_videomt"]
_registers = {s: f"vit_{s}_patch14_reg4_dinov2" for s in ("large", "base", "small")}
encoders = [dict(name=name, image_size=640, weights="timm") for name in _registers.values()]
sizes = {
    name: dict(
        label=f"ViT-{size[0].upper()}",
        setting=f"ViT-{size[0].upper()}, DINOv2, YouTube-VIS 2019",
    )
    for size, name in _registers.items()
}
changes = dict(
    step0_cavis=dict(
        encoders={
            name: dict(name=name.replace("_reg4", ""), image_size=592)
            for name in _registers.values()
        }
    )
)
