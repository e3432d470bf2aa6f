"""Online, semi-online and offline: the tiny ablation's models with a look at later frames.

The models are those of the online rows; only the test differs.
"""

_base_ = "tiny.py"

title = "Looking ahead"
caption = (
    "The same trained models, which decide on a frame at once, after 4 later frames, or after the "
    "whole video of 24 frames."
)
figures = ["results"]
published = None
variants = ["step6_videomt", "gru", "memory_bank"]
seeds = [1, 2, 3]
recipes = {
    "online": dict(test=dict(look_ahead=0)),
    "4 frames ahead": dict(test=dict(look_ahead=4)),
    "offline": dict(test=dict(look_ahead=None)),
}
