"""Step 6, VidEoMT: propagated queries pass one linear layer and are added to the learned ones.

Norouzi et al., CVPR 2026 (arXiv 2602.17807), Tab. 1.
"""

from videomt_bench.models import EoMT, QueryFusion, Variant

VARIANT = Variant(
    title="6 + query fusion = VidEoMT",
    segmenter=EoMT.from_spec,
    memory=QueryFusion,
)
