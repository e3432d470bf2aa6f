"""The contrastive losses as plain loops over objects, frames and embeddings."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models import ClipOutput
from videomt_bench.training.layers import LayerPredictions, LossSettings
from videomt_bench.training.matching import match

SETTINGS = LossSettings(num_points=16)
COUNTS = (3, 0, 5, 2, 1)
WIDTH = 6
TOLERANCE = dict(rel=1e-5, abs=1e-5)


def restated_item(
    anchors: list[np.ndarray], positives: list[np.ndarray], negatives: list[np.ndarray]
) -> np.ndarray:
    """Section 1.9: both terms of one item."""
    main, cosines = 0.0, []
    for a in anchors:
        main += math.log(1 + sum(math.exp(a @ n - a @ p) for p in positives for n in negatives))
        for samples, label in ((positives, 1), (negatives, 0)):
            for s in samples:
                cosine = a @ s / np.linalg.norm(a) / np.linalg.norm(s)
                cosines.append((cosine - label) ** 2)
    return np.array([main, np.mean(cosines)])


def mean_of_items(items: list[np.ndarray]) -> list[float]:
    return (sum(items) / len(items)).tolist() if items else [0.0, 0.0]


def restated_objects(clips: list[dict[int, list[np.ndarray]]]) -> list[float]:
    """An item per object of each clip: its embeddings against those of all others."""
    items = []
    for embeddings in clips:
        for o, own in embeddings.items():
            others = [e for p, group in embeddings.items() if p != o for e in group]
            items.append(restated_item(own, own, others))
    return mean_of_items(items)


def doubles(x: Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def restated_identity(identity: np.ndarray, targets: list[ClipTargets], queries) -> list[float]:
    clips = []
    for b, target in enumerate(targets):
        found: dict[int, list[np.ndarray]] = {}
        for o in range(len(target.labels)):
            for t in range(identity.shape[1]):
                q = int(queries[b][o, t])
                if q >= 0:
                    name = o if target.present[o, t] else -1
                    found.setdefault(name, []).append(identity[b, t, q])
        clips.append(found)
    return restated_objects(clips)


def resize(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear at the centres of the new pixels, without smoothing."""
    rows, columns = (
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for new, old in zip((height, width), mask.shape, strict=True)
    )
    weight = np.maximum(0, 1 - abs(rows[:, None] - np.arange(mask.shape[0])))
    other = np.maximum(0, 1 - abs(columns[:, None] - np.arange(mask.shape[1])))
    return weight @ mask @ other.T


def restated_prototypes(features: np.ndarray, targets: list[ClipTargets]) -> list[float]:
    clips = []
    for b, target in enumerate(targets):
        found: dict[int, list[np.ndarray]] = {}
        for o in range(len(target.labels)):
            for t in range(features.shape[1]):
                mask = resize(target.masks[o, t].double().numpy(), *features.shape[-2:])
                if mask.sum() > 0:
                    mean = (features[b, t] * mask).sum((1, 2)) / mask.sum()
                    found.setdefault(o, []).append(mean)
        if len(target.labels) >= 2 and len(found) == len(target.labels):
            clips.append(found)
    return restated_objects(clips)


def restated_references(reference: np.ndarray, queries) -> list[float]:
    items = []
    for b, references in enumerate(reference):
        later = references[1:]
        for i in range(1, len(later)):
            for q in {int(x) for x in queries[b][:, i + 1]} - {-1}:
                for j in (i - 1, i + 1):
                    if j < len(later):
                        others = [later[j][k] for k in range(later.shape[1]) if k != q]
                        items.append(restated_item([later[i][q]], [later[j][q]], others))
    return mean_of_items(items)


def values(terms: tuple[Tensor, Tensor]) -> list[float]:
    return [float(term.detach()) for term in terms]


def final(output: ClipOutput, targets: list[ClipTargets], matching: str) -> list[Tensor]:
    found = match(LayerPredictions.of(output), targets, matching, SETTINGS)
    return [queries[-1] for queries in found]
