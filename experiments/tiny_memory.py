"""What a query may carry from frame to frame, on generated video: all memories of the gallery.

The same data, iterations, segmenters and run ids as in the tiny ablation, so its runs of steps 4 to
6 are rows here.
"""

_base_ = "tiny.py"

title = "Memories on generated video"
caption = (
    "All rows on EoMT start from the same one for each seed, those on Mask2Former from theirs, and "
    "get the same number of iterations on clips. Published numbers are of full-size models and "
    "other data."
)
published = "propagation"
figures = ["results", "tradeoff", "training"]
variants = [
    "step4_frame_by_frame",
    "step5_propagation",
    "nonobject_reset",
    "trackformer",
    "step6_videomt",
    "gated_fusion",
    "object_fusion",
    "ema_bank",
    "memory_bank",
    "slot_memory",
    "s5",
    "lstm",
    "gru",
    "deep_gru",
    "mask2former_fusion",
    "mask2former_trackformer",
]
seeds = [1, 2, 3]
changes = dict(nonobject_reset=dict(published="propagation_reset"))
