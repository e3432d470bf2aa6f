"""Table 1 of VidEoMT (arXiv 2602.17807): from CAVIS to VidEoMT, one part removed at a time.

ViT-L, B and S. Step 0 has the DINOv2 without registers at its own 37×37 grid, as published; every
other step has the one with registers at 40×40.
"""

_base_ = "_base/ytvis_2019.py"

title = "From CAVIS to VidEoMT"
caption = (
    "The lean rows compute the same outputs as the rows above them without work that "
    "changes none: a dense context filter of constant weights, and mask heads whose results are "
    "dropped. Published GFLOPs are means over validation videos of mixed shape, about 1.2 % "
    "below the value at 448×800; a published cell that fits no count has a note."
)
published = "ablation"
figures = ["ladder", "tradeoff", "encoders", "cost", "training"]
variants = [
    "step0_cavis",
    "step0_cavis_lean",
    "step1_eomt_segmenter",
    "step1_eomt_segmenter_lean",
    "step2_no_context",
    "step3_no_reid",
    "step4_frame_by_frame",
    "step5_propagation",
    "step6_videomt",
]
_letters = {"L": "large", "B": "base", "S": "small"}
_registers = {s: f"vit_{word}_patch14_reg4_dinov2" for s, word in _letters.items()}
encoders = [dict(name=name, image_size=640, weights="timm") for name in _registers.values()]
sizes = {
    name: dict(
        label=f"ViT-{letter}",
        table="ablation" if letter == "L" else "scale",
        setting=f"ViT-{letter}, DINOv2, YouTube-VIS 2019",
    )
    for letter, name in _registers.items()
}
_cavis = dict(
    encoders={
        name: dict(name=name.replace("_reg4", ""), image_size=592) for name in _registers.values()
    },
    recipe=dict(like="cavis"),
)
changes = dict(step0_cavis=dict(_cavis, weights="cavis_public_code"), step0_cavis_lean=_cavis)
cost = dict(_delete_=True, input=[448, 800], source=[720, 1280], frames=0)
