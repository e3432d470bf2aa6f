"""Random truth and predictions full of corner cases, in small frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from videomt_bench.evaluation.ytvis_files import Prediction, Truth, TruthObject, Video


def encode(mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def box_tube(rng, height, width, length):
    """Boxes that move; some frames null, some empty, now and then a full frame."""
    masks = []
    y, x = rng.integers(0, height), rng.integers(0, width)
    h, w = rng.integers(1, height + 1), rng.integers(1, width + 1)
    for _ in range(length):
        kind = rng.random()
        mask = np.zeros((height, width), bool)
        if kind < 0.1:
            masks.append(None)
            continue
        if kind > 0.97:
            mask[:] = True
        elif kind > 0.15:
            mask[y : y + h, x : x + w] = True
        masks.append(mask)
        x = (x + rng.integers(0, 2)) % width
    return masks


def noisy(rng, masks):
    """A prediction of the tube that is nearly right."""
    result = []
    for mask in masks:
        if mask is None or rng.random() < 0.1:
            result.append(None if rng.random() < 0.7 or mask is None else np.zeros_like(mask))
            continue
        shift = int(rng.integers(0, 2))
        result.append(np.roll(mask, shift, 1) if rng.random() < 0.6 else mask.copy())
    return result


def encoded(masks):
    return [None if mask is None else encode(mask) for mask in masks]


def nasty_truth(
    rng, videos=6, categories=4, lengths=(1, 6), sides=(4, 12), crowd=0.15, occlusion=False
):
    """Truth and predictions; the last category has no object, the first video no truth.

    Areas in the truth are drawn at the bounds of the ranges, so that small frames reach them, and
    so are the occlusion scores, if any.
    """
    bounds = [0, 1, 128**2 - 1, 128**2, 128**2 + 1, 256**2, 256**2 + 0.5, 1e10, 2e10]
    ids = sorted(rng.choice(1000, videos, replace=False).tolist())
    all_videos, objects, predictions = {}, [], []
    for i, id_ in enumerate(ids):
        length = int(rng.integers(*lengths, endpoint=True))
        height, width = (int(n) for n in rng.integers(*sides, 2, endpoint=True))
        all_videos[id_] = Video(id_, height, width, length)
        tubes = [box_tube(rng, height, width, length) for _ in range(rng.integers(1, 5))]
        for tube in tubes if i else []:
            category = int(rng.integers(1, categories))
            areas = rng.choice(bounds, length).tolist() if rng.random() < 0.5 else None
            if areas and rng.random() < 0.5:
                areas = [areas[0]] * length
            objects.append(
                TruthObject(id_, category, encoded(tube), areas, bool(rng.random() < crowd))
            )
        for _ in range(rng.integers(0, 10)):
            source = tubes[rng.integers(len(tubes))]
            tube = (
                noisy(rng, source) if rng.random() < 0.8 else box_tube(rng, height, width, length)
            )
            segmentations = encoded(tube)
            for _ in range(rng.integers(1, 3)):  # the same query with another label
                category = int(rng.integers(1, categories + 1))
                score = float(rng.choice([0.1, 0.5, 0.5, 0.9, rng.random()]))
                predictions.append(Prediction(id_, category, score, segmentations))
    if occlusion:
        values = [None, 0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.75]
        objects = [replace(o, occlusion=values[rng.integers(len(values))]) for o in objects]
    order = rng.permutation(len(predictions))
    names = {c: f"class {c}" for c in range(1, categories + 1)}
    return Truth(all_videos, names, objects), [predictions[i] for i in order]
