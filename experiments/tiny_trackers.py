"""EoMT with the trackers of decoupled systems, on generated video: Table 6 of VidEoMT
(arXiv 2602.17807) at the size of the tiny ablation.
"""

_base_ = "tiny.py"

title = "EoMT with existing trackers, on generated video"
caption = (
    "All rows start from the same EoMT for each seed and get the same number of iterations on "
    "clips. With DVIS-DAQ the segmenter stays frozen, in the other rows everything learns; its "
    "threshold for tracks, 0.1 in place of 0.01, was chosen on training videos."
)
figures = ["results", "tradeoff", "training"]
published = "trackers"
variants = [
    "frame_by_frame_matched",
    "step1_eomt_segmenter",
    "eomt_dvis_plus",
    "eomt_dvis_daq",
    "trackformer",
    "step6_videomt",
]
seeds = [1, 2, 3]
_dvis_plus = dict(
    tracklets=True,
    identity_cosine_weight=3.0,
    prototype_weight=0.0,
    prototype_cosine_weight=0.0,
    first_reference=True,
    reference_cosine_weight=0.0,
)
changes = dict(
    eomt_dvis_plus=dict(recipe=dict(video=dict(train=dict(losses=_dvis_plus)))),
    eomt_dvis_daq=dict(
        recipe=dict(
            # the same part of all iterations as in the recipe at full size
            video=dict(train=dict(tracks=dict(short_iterations=40))),
            # the best of 0.01, 0.03, 0.1, 0.2 and 0.3 on 120 training videos, 3 seeds: `LOG.md`
            selection=dict(score=0.1),
        )
    ),
)
