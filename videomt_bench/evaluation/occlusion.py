"""How occluded an object of OVIS is, and the groups that its benchmark scores apart.

The definition is that of the evaluation code of the authors of OVIS (github.com/qjy981010/cocoapi,
``oviseval.py``), which refers to their challenge paper (Qi et al., Occluded Video Instance
Segmentation: Dataset and ICCV 2021 Challenge, arXiv 2111.07950). Every visible frame has a label;
the score of an object is the mean over the more occluded half of its frames. An object on the
limit of two groups belongs to both, and a detection that is not matched counts as false in every
group, since it has no label of its own. That the evaluation server runs the same code is likely,
but nowhere said; the paper's slightly, moderately and heavily (so, mo, ho) are light, medium and
heavy there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LABELS = {"no_occlusion": 0.0, "slight_occlusion": 0.25, "severe_occlusion": 0.75}
LIMITS = np.array([[0, 0.25], [0.25, 0.5], [0.5, 1]])
"""Scores of slightly, moderately and heavily occluded objects; both ends belong to the range."""


def occlusion_score(labels: Sequence[str | None]) -> float | None:
    """Mean over the more occluded half of the labelled frames, rounded up; None without labels."""
    scores = sorted(LABELS[label] for label in labels if label is not None)
    half = scores[len(scores) // 2 :]
    return math.fsum(half) / len(half) if half else None
