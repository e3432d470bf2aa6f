"""CAVIS learns with its own recipe: the optimizer of Mask2Former, and a segmenter on clips.

Its published weights, and numbers, are those of its public code.
"""

_cavis = dict(like="cavis")
changes = dict(
    step0_cavis=dict(recipe=_cavis, weights="cavis_public_code"),
    cavis_offline=dict(recipe=_cavis, weights="cavis_offline_public_code"),
)
