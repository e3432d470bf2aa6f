"""CAVIS beside the recipe of a data set: its segmenter learns on clips of 3 frames, each matched on
its own."""

changes = dict(
    step0_cavis=dict(recipe=dict(segmenter=dict(frames=3, train=dict(matching="per_frame")))),
)
