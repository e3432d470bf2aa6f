"""CAVIS learns with its own recipe: the optimizer of Mask2Former, and a segmenter on clips.

Its published weights, and numbers, are those of its public code.
"""

changes = dict(step0_cavis=dict(recipe=dict(like="cavis"), weights="cavis_public_code"))
