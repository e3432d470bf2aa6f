"""YouTube-VIS 2019 as in VidEoMT (arXiv 2602.17807): data, recipe and cost.

The paper trains all its systems with the settings of CAVIS: 8 clips of 5 frames, 40,000 iterations
on images and 160,000 on clips. Its public configurations stop at 60,000: ``videomt_june``.
"""

datasets = ["ytvis_2019"]
device = "cuda"
seeds = [0]
recipe = dict(like="videomt")
cost = dict(
    input=[448, 800],
    source=[720, 1280],
    device="cuda",
    precision="fp16",
    compile="default",
    frames=400,
    warmup=100,
)
