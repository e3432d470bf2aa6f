"""Embedding matching: the permutation's direction, the chain over frames, the outputs moved."""

from __future__ import annotations

import itertools

import torch

from videomt_bench.models import EmbeddingMatching, FrameFeatures, FrameOutput
from videomt_bench.models.trackers import match_embeddings


def _output(embeddings: torch.Tensor) -> FrameOutput:
    count = embeddings.shape[1]
    slots = torch.arange(count, dtype=torch.float32)
    return FrameOutput(
        class_logits=slots[None, :, None].expand(1, -1, 3),
        mask_logits=slots[None, :, None, None].expand(1, -1, 2, 2),
        queries=embeddings,
        embeddings=embeddings,
    )


def test_a_cycle_of_three_is_not_inverted() -> None:
    """An inverse permutation is right for swaps only; a 3-cycle tells."""
    reference = torch.eye(3)[None]
    current = reference[:, [2, 0, 1]]
    permutation = match_embeddings(reference, current)
    assert permutation.tolist() == [[1, 2, 0]]
    assert torch.equal(current[:, permutation[0]], reference)


def test_the_best_of_all_permutations() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    cosine = torch.nn.functional.cosine_similarity(a[0][:, None], b[0][None], dim=-1)
    best = max(
        itertools.permutations(range(4)), key=lambda p: sum(cosine[i, j] for i, j in enumerate(p))
    )
    assert match_embeddings(a, b)[0].tolist() == list(best)


def test_tracks_follow_objects_through_shuffled_frames() -> None:
    torch.manual_seed(0)
    tracker = EmbeddingMatching().eval()
    objects = torch.randn(5, 16)
    features = FrameFeatures({}, (8, 8))
    state = tracker.init_state(1)
    for shuffle in ([0, 1, 2, 3, 4], [3, 1, 4, 0, 2], [2, 4, 0, 1, 3]):
        # the objects drift a little from frame to frame
        objects = objects + 0.01 * torch.randn_like(objects)
        aligned, state = tracker.track(_output(objects[None, shuffle]), features, state)
        torch.testing.assert_close(aligned.embeddings[0], objects)
        where = torch.tensor([shuffle.index(i) for i in range(5)], dtype=torch.float32)
        assert torch.equal(aligned.class_logits[0, :, 0], where)
        assert torch.equal(aligned.mask_logits[0, :, 1, 1], where)
