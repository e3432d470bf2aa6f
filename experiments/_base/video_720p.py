"""VIPSeg and VSPW as in VidEoMT (arXiv 2602.17807): both training stages, test and cost at 720p.

8 clips of 5 frames, 40,000 iterations on images and as many on clips of VIPSeg; no crop.
"""

device = "cuda"
seeds = [0]

_augmentation = dict(short_sides=list(range(480, 801, 32)), max_size=1333, flip=0.5)
_common = dict(batch=8, precision="fp16", workers=4, per_device=1, checkpoint_interval=1000)
recipe = dict(
    name="video_720p",
    num_queries=200,
    segmenter=dict(
        frames=1,
        augmentation=_augmentation,
        train=dict(iterations=40000, masked_attention=True, **_common),
    ),
    video=dict(
        frames=5,
        augmentation=_augmentation,
        train=dict(iterations=40000, **_common),
    ),
    test=dict(short_side=720, precision="fp16"),
)
cost = dict(
    input=[736, 1280],
    source=[720, 1280],
    device="cuda",
    precision="fp16",
    compile="default",
    frames=400,
    warmup=100,
)
