"""EoMT on every frame by itself, trained so, and linked by matching query embeddings.

The other reading of "frame by frame": the linking of MinVIS (Huang et al., NeurIPS 2022).
"""

from videomt_bench.models import EmbeddingMatching, EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="4' frame by frame, matched",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
    tracker=EmbeddingMatching,
    matching="per_frame",
)
