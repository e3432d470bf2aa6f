"""Panoptic and semantic maps against the published rules, written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from videomt_bench.evaluation.panoptic_inference import PanopticSettings, panoptic_video
from videomt_bench.evaluation.semantic_inference import semantic_video
from videomt_bench.evaluation.stream import Masks, VideoOutputs

CLASSES, THINGS, QUERIES, FRAMES = 4, 2, 9, 3
PADDED, INNER, SIZE = (24, 32), (20, 30), (25, 37)


def _outputs(seed: int, confident: float = 6.0) -> tuple[VideoOutputs, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, QUERIES, CLASSES + 1, generator=generator)
    winner = torch.randint(0, CLASSES + 1, (QUERIES,), generator=generator)
    logits[0, torch.arange(QUERIES), winner] += confident
    # regions that queries share among them, disturbed: some win most of their masks, some do not
    coarse = 3 * torch.randn(FRAMES, QUERIES, 3, 4, generator=generator)
    coarse = coarse - 7 + 10 * (coarse == coarse.amax(1, keepdim=True))
    masks = interpolate(coarse, (PADDED[0] // 4, PADDED[1] // 4), mode="bilinear")
    return VideoOutputs(logits, _chosen(masks), PADDED, INNER), logits[0], masks


def _chosen(masks: torch.Tensor) -> Masks:
    """Masks (T, Q, h, w) of one video, as its outputs give them."""
    return lambda queries: ([frame[queries[0]]] for frame in masks)


def _probabilities(masks: torch.Tensor) -> torch.Tensor:
    inner = interpolate(masks, PADDED, mode="bilinear")[..., : INNER[0], : INNER[1]].sigmoid()
    return interpolate(inner, SIZE, mode="bilinear")


def _slow_panoptic(logits: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    scores = logits.softmax(-1)
    kept = [
        (q, int(s.argmax()), float(s.max()))
        for q, s in enumerate(scores)
        if int(s.argmax()) != CLASSES and float(s.max()) > 0.8
    ]
    probability = _probabilities(masks)
    won = np.full((FRAMES, *SIZE), -1)
    for t in range(FRAMES):
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                values = [score * float(probability[t, q, y, x]) for q, _, score in kept]
                won[t, y, x] = int(np.argmax(values)) if values else -1
    result = np.zeros((FRAMES, *SIZE), int)
    number, stuff = 0, {}
    for i, (q, label, _) in enumerate(kept):
        a, b = won == i, probability[:, q].numpy() >= 0.5
        if not a.any() or not b.any() or not (a & b).any() or a.sum() / b.sum() < 0.8:
            continue
        if label >= THINGS and label in stuff:
            segment = stuff[label]
        else:
            number += 1
            segment = number
            stuff[label] = segment
        result[a & b] = segment
    return result


@pytest.mark.parametrize("seed", range(6))
def test_panoptic(seed: int) -> None:
    outputs, logits, masks = _outputs(seed)
    found = panoptic_video(outputs, SIZE, PanopticSettings(THINGS))
    frames = np.stack(list(found.frames))
    np.testing.assert_array_equal(frames, _slow_panoptic(logits, masks))
    assert set(np.unique(frames)) - {0} == set(found.labels)


def test_the_cases_are_not_all_alike() -> None:
    """Segments dropped for their overlap, and stuff that is joined, both occur above."""
    sizes = []
    for seed in range(6):
        outputs, logits, _ = _outputs(seed)
        kept = (logits.softmax(-1)[:, :-1].amax(-1) > 0.8).sum()
        sizes.append((int(kept), len(panoptic_video(outputs, SIZE, PanopticSettings(2)).labels)))
    assert any(0 < segments < kept for kept, segments in sizes)
    assert any(segments > 1 for _, segments in sizes)


def test_no_confident_query_is_void_everywhere() -> None:
    outputs, logits, _ = _outputs(0)
    logits.zero_()
    found = panoptic_video(outputs, SIZE, PanopticSettings(THINGS))
    assert found.labels == {}
    frames = np.stack(list(found.frames))
    assert frames.shape == (FRAMES, *SIZE)
    assert not frames.any()


@pytest.mark.parametrize("seed", range(3))
def test_semantic(seed: int) -> None:
    outputs, logits, masks = _outputs(seed)
    frames = np.stack(list(semantic_video(outputs, SIZE)))
    classes, probability = logits.softmax(-1)[:, :CLASSES].double(), _probabilities(masks).double()
    scores = sum(classes[q][None, :, None, None] * probability[:, q, None] for q in range(QUERIES))
    np.testing.assert_array_equal(frames, scores.argmax(1).numpy())


@pytest.mark.parametrize(("start", "kept"), [(15, False), (17, True)])
def test_a_query_must_win_four_fifths_of_its_mask(start: int, kept: bool) -> None:
    """The better query takes 5 or 3 of the 20 columns of the other: it keeps 0.75 or 0.85."""
    logits = torch.full((1, 2, CLASSES + 1), -5.0)
    logits[0, 0, 0], logits[0, 1, 1] = 2.0, 4.0
    masks = torch.full((1, 2, 2, 40), -10.0)
    masks[0, 0, :, :20] = masks[0, 1, :, start:] = 10.0
    size = (8, 160)
    outputs = VideoOutputs(logits, _chosen(masks), size, size)
    found = panoptic_video(outputs, size, PanopticSettings(THINGS))
    assert sorted(found.labels.values()) == ([0, 1] if kept else [1])
