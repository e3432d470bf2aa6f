"""CAVIS learns with its own recipe: the optimizer of Mask2Former, and a segmenter on clips."""

changes = dict(step0_cavis=dict(recipe=dict(like="cavis")))
