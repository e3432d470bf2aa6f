"""Positions of masks, and anchors that follow them: hand-worked cases and a plain list."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from videomt_bench.models.anchors import MEMORY, Anchors, PositionEmbedding

D = 4


def test_a_position_is_the_mean_feature_under_the_mask() -> None:
    torch.manual_seed(0)
    embedding = PositionEmbedding(D)
    features = torch.randn(1, D, 3, 5)
    logits = torch.full((1, 3, 3, 5), -1.0)
    logits[0, 0, 1, 2:4] = 2.0
    logits[0, 1] = 0.5
    logits[0, 2, 0, 0] = 0.0
    found = embedding.under(logits, features)[0]
    means = [
        (features[0, :, 1, 2] + features[0, :, 1, 3]) / 2,
        features[0].flatten(1).mean(1),
        torch.zeros(D),
    ]
    torch.testing.assert_close(found, embedding(torch.stack(means)))


def plain(frames: list[torch.Tensor | None]) -> torch.Tensor:
    """The fused position of one track, from the positions of the frames in which it was seen."""
    stored: list[torch.Tensor] = []
    fused = torch.zeros(D)
    for position in frames:
        if position is None:
            continue
        earlier = stored[-9:]
        if not earlier:
            fused = position
        else:
            cosines = [float(normalize(x, dim=0) @ normalize(position, dim=0)) for x in earlier]
            share = max(0.0, sum(cosines) / len(cosines))
            fused = (1 - share) * fused + share * position
        stored.append(position)
    return fused


def test_anchors_follow_as_a_plain_list_does() -> None:
    """More frames than are remembered; one track is not seen in some."""
    g = torch.Generator().manual_seed(0)
    count, length = 3, MEMORY + 5
    positions = torch.randn(length, count, D, generator=g) + 0.5
    seen = torch.rand(length, count, generator=g) > 0.3
    anchors = Anchors.none(count, torch.zeros(D))
    for t in range(length):
        anchors = anchors.updated(positions[t], seen[t])
    assert anchors.stored.tolist() == seen.sum(0).tolist()
    assert int(anchors.stored.max()) > MEMORY
    for i in range(count):
        frames = [positions[t, i] if seen[t, i] else None for t in range(length)]
        torch.testing.assert_close(anchors.fused[i], plain(frames), atol=1e-5, rtol=0)


def test_an_opposite_position_moves_nothing() -> None:
    one, opposite = torch.ones(1, D), -torch.ones(1, D)
    yes = torch.ones(1, dtype=torch.bool)
    anchors = Anchors.none(1, one).updated(one, yes).updated(opposite, yes)
    assert torch.equal(anchors.fused, one)
    same = Anchors.none(1, one).updated(one, yes).updated(2 * one, yes)
    torch.testing.assert_close(same.fused, 2 * one)


def test_tracks_that_join_have_no_position_yet() -> None:
    yes = torch.ones(2, dtype=torch.bool)
    anchors = Anchors.none(2, torch.zeros(D)).updated(torch.ones(2, D), yes)
    more = anchors.extended(1)
    assert more.stored.tolist() == [1, 1, 0]
    taken = more.take(torch.tensor([2, 0]))
    after = taken.updated(torch.full((2, D), 3.0), yes)
    assert torch.equal(after.fused[0], torch.full((D,), 3.0))
