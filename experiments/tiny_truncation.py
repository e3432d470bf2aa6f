"""Truncated query propagation: clips of T frames, with gradients through F of them at a time.

The setting of the tiny ablation, for one memory. LVMT (arXiv 2609.34895) varies T and F so.
"""

_base_ = "tiny.py"

title = "Clips of T frames, gradients through F of them"
caption = (
    "A gated recurrent unit carries each query. T is the length of the clips that are learned "
    "from, F that of the chunks between which the state is cut off from its past. All rows have "
    "the same number of iterations and of clips in each, so T = 10 sees twice as many frames as "
    "T = 5."
)
figures = ["results", "training"]
published = None
variants = ["gru"]
seeds = [1, 2, 3]


def _clips(frames: int, chunk: int | None) -> dict:
    return dict(video=dict(frames=frames, train=dict(chunk=chunk)))


recipes = {
    "T 5, F 1": _clips(5, 1),
    "T 5, F 5": _clips(5, None),
    "T 10, F 5": _clips(10, 5),
    "T 10, F 10": _clips(10, None),
}
