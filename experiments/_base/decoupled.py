"""CAVIS, DVIS++ and DVIS-DAQ beside the recipe of a data set of YouTube-VIS.

DVIS++ and DVIS-DAQ learn their segmenter on 11 frames, for 16,000 iterations of 16 clips; DVIS++
learns its tracker for 40,000 iterations. Both are tested at a short side of 480, so their published
cost is that of 480×864.
"""

_base_ = "cavis.py"

_contrastive = dict(
    frames=11,
    train=dict(iterations=16000, batch=16, matching="per_frame", optim=dict(lr=5e-5)),
)
changes = dict(
    dvis_plus=dict(
        recipe=dict(
            segmenter=_contrastive,
            video=dict(train=dict(iterations=40000)),
            test=dict(short_side=480),
        )
    ),
    dvis_daq=dict(recipe=dict(segmenter=_contrastive, test=dict(short_side=480, top_k=20))),
)
