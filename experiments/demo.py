"""The tiny ablation in half the iterations, which two CPU cores train in less than 20 minutes."""

_base_ = "tiny.py"

caption = (
    "Half the iterations of the tiny ablation, on images and on clips. Step 0 has its own "
    "segmenter, Mask2Former on a ViT-Adapter, and a tracker that learns while the segmenter is "
    "frozen; steps 1 to 6 start from one EoMT, and everything learns. Step 4 is the paper's: "
    "trained with first-appearance matching, linked by the query index; step 4' is trained frame "
    "by frame and linked by matching query embeddings."
)
recipe = dict(
    name="demo",
    segmenter=dict(train=dict(iterations=300)),
    video=dict(train=dict(iterations=300)),
)
