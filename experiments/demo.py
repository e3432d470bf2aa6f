"""The tiny ablation in two fifths of the iterations, for two CPU cores and 20 minutes."""

_base_ = "tiny.py"

caption = (
    "Two fifths of the iterations of the tiny ablation, on images and on clips. Step 0 has its own "
    "segmenter, Mask2Former on a ViT-Adapter, and a tracker that learns while the segmenter is "
    "frozen; steps 1 to 6 start from one EoMT, and everything learns. Step 4 is the paper's: "
    "trained with first-appearance matching, linked by the query index; step 4' is trained frame "
    "by frame and linked by matching query embeddings."
)
recipe = dict(
    name="demo",
    segmenter=dict(train=dict(iterations=240)),
    video=dict(train=dict(iterations=240)),
)
