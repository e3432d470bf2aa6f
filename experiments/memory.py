"""Recurrent memories in the place of VidEoMT's fusion (LVMT, arXiv 2609.34895): OVIS.

Published rows of the cells stand on PMT with DINOv3-L and truncated propagation; here they stand on
VidEoMT.
"""

_base_ = "_base/ytvis_2019.py"

title = "Memory cells"
caption = (
    "OVIS, ViT-L. The published memory cells are on PMT with DINOv3-L and truncated propagation, "
    "the published VidEoMT beside them learned on clips of 10 frames."
)
published = "memory"
variants = ["step6_videomt", "memory_bank", "s5", "lstm", "gru", "deep_gru"]
encoders = [dict(name="vit_large_patch14_reg4_dinov2", image_size=640, weights="timm")]
datasets = ["ovis"]
cost = dict(input=[544, 992])
