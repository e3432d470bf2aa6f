"""EoMT with the tracker of DVIS++ (VidEoMT, arXiv 2602.17807, Tab. 6).

EoMT is trained without temporal supervision first, so identities are learned from clips only.
"""

from videomt_bench.models import DvisPlusTracker, EoMT, LearnedQueries, Variant

VARIANT = Variant(
    title="EoMT + DVIS++",
    segmenter=EoMT.from_spec,
    memory=LearnedQueries,
    tracker=DvisPlusTracker,
)
