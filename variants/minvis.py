"""MinVIS: Mask2Former on every frame by itself, linked by matching query embeddings.

Huang et al., NeurIPS 2022; with a ViT as in DVIS++ (Zhang et al., TPAMI 2025). It has no
parameters beyond those of the segmenter and no video loss.
"""

from videomt_bench.models import EmbeddingMatching, LearnedQueries, Mask2Former, Variant

VARIANT = Variant(
    title="MinVIS",
    segmenter=Mask2Former.from_spec,
    memory=LearnedQueries,
    tracker=EmbeddingMatching,
    matching="per_frame",
)
