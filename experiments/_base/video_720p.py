"""VIPSeg and VSPW as in VidEoMT (arXiv 2602.17807): recipe and cost, test and cost at 720p."""

device = "cuda"
seeds = [0]
recipe = dict(like="videomt")
cost = dict(
    input=[736, 1280],
    source=[720, 1280],
    device="cuda",
    precision="fp16",
    compile="default",
    frames=400,
    warmup=100,
)
