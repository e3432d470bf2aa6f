"""YouTube-VIS 2019 as in VidEoMT (arXiv 2602.17807): data, both training stages, test and cost.

The settings of CAVIS that the paper trains all its systems with: 8 clips of 5 frames, 40,000
iterations on images and 160,000 on clips. Its public configurations stop at 60,000.
"""

datasets = [
    dict(
        name="ytvis_2019",
        layout="ytvis_2019",
        root="datasets/ytvis_2019",
        num_classes=40,
        train_split="train",
        test_split="valid",
    )
]
device = "cuda"
seeds = [0]

_sides = [320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640]
_augmentation = dict(short_sides=_sides, max_size=768, crop=True, flip=0.5)
_common = dict(batch=8, precision="fp16", workers=4, per_device=1, checkpoint_interval=1000)
recipe = dict(
    name="ytvis_2019",
    num_queries=200,
    segmenter=dict(
        frames=1,
        augmentation=_augmentation,
        train=dict(iterations=40000, masked_attention=True, **_common),
    ),
    video=dict(
        frames=5,
        augmentation=_augmentation,
        train=dict(iterations=160000, **_common),
    ),
    test=dict(short_side=448, top_k=10, precision="fp16"),
)
cost = dict(
    input=[448, 800],
    source=[720, 1280],
    device="cuda",
    precision="fp16",
    compile="default",
    frames=400,
    warmup=100,
)
