"""Step 6, VidEoMT, whose queries are propagated after the final norm instead of before it.

The setting of the public configurations of VidEoMT with DINOv3 on VIPSeg and VSPW (Norouzi et al.,
CVPR 2026, arXiv 2602.17807).
"""

from functools import partial

from videomt_bench.models import EoMT, QueryFusion, Variant

VARIANT = Variant(
    title="6 + query fusion = VidEoMT, normalised queries",
    segmenter=EoMT.from_spec,
    memory=partial(QueryFusion, normalize=True),
)
