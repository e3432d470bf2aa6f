"""Step 4: EoMT on every frame by itself; query i of every frame is track i.

It is trained on clips with the video matching like the steps after it (VidEoMT, Tab. 1 and A).
"""

from videomt_bench.models import EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="4 frame by frame",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
)
