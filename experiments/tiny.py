"""The tiny ablation: all seven steps on generated video, small enough for two CPU cores.

Two settings: ``slots``, small scenes in which a query index can serve as an identity, and
``crossing``, many objects of one class whose paths cross, in which it cannot.
"""

title = "The tiny ablation: from CAVIS to VidEoMT, on generated video"
caption = (
    "Step 0 has its own segmenter, Mask2Former on a ViT-Adapter, and a tracker that learns while "
    "the segmenter is frozen; steps 1 to 6 start from one EoMT, and everything learns. "
    "Step 4 is the paper's: trained with first-appearance matching, linked by the query index; "
    "step 4' is trained frame by frame and linked by matching query embeddings. Every row gets the "
    "same number of iterations, on images and on clips. In the scenes "
    "'slots' a query index can stand for a colour and a region; in 'crossing' it cannot."
)
figures = ["results", "ladder", "tradeoff", "cost", "training"]
published = "ablation"
variants = [
    "step0_cavis",
    "step1_eomt_segmenter",
    "step2_no_context",
    "step3_no_reid",
    "frame_by_frame_matched",
    "step4_frame_by_frame",
    "step5_propagation",
    "step6_videomt",
]
encoders = [dict(name="vit_tiny_conv_patch8", image_size=48, patch_size=8)]
seeds = [1]
threads = 1


def _dataset(scene: str) -> dict:
    common = dict(height=48, width=48, seed=7, scene=scene)
    return dict(
        name=f"generated-{scene}",
        root=f"runs/data/{scene}",
        num_classes=4,
        generate=[
            dict(split="train", videos=1000, frames=16, **common),
            dict(split="valid", videos=200, frames=24, **common),
        ],
    )


datasets = [_dataset("slots"), _dataset("crossing")]

_losses = dict(num_points=256)
_common = dict(losses=_losses, divisor=8, checkpoint_interval=250)
recipe = dict(
    name="tiny",
    num_queries=12,
    segmenter=dict(
        frames=1,
        augmentation=dict(flip=0.5),
        train=dict(
            iterations=600,
            batch=32,
            masked_attention=True,
            optim=dict(lr=1e-3, weight_decay=0.02, layer_decay=1.0, warmup=[50, 50], clip_norm=1.0),
            **_common,
        ),
    ),
    video=dict(
        frames=5,
        augmentation=dict(flip=0.5),
        train=dict(
            iterations=600,
            batch=6,
            optim=dict(lr=8e-4, weight_decay=0.02, layer_decay=1.0, warmup=[50, 50], clip_norm=1.0),
            **_common,
        ),
    ),
    test=dict(short_side=None, divisor=8, top_k=10, window=8, batch=50),
)
changes = dict(
    step0_cavis=dict(
        # identities need clips: about as many images in each iteration
        recipe=dict(segmenter=dict(frames=3, train=dict(batch=10, matching="per_frame")))
    )
)
cost = dict(input=[48, 48], source=[48, 48], frames=200, warmup=20)
