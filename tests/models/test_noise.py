"""Noise of slots: what a slot starts from, which query it stands for, and how often."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.noise import QueryNoise

B, Q, D = 64, 6, 8
ORDER = torch.tensor([2, 0, 1, 5, 3, 4]).expand(B, -1)


@pytest.fixture
def queries() -> Tensor:
    """Query i of stream b is 100 b + i in all channels, so that its origin can be read."""
    return (100.0 * torch.arange(B)[:, None] + torch.arange(Q))[..., None].repeat(1, 1, D)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def sources(start: Tensor) -> Tensor:
    """The query of its own stream that each value comes from."""
    return start - 100 * torch.arange(B)[:, None, None]


def test_without_noise_slots_start_aligned(queries: Tensor) -> None:
    for noise in (QueryNoise(), QueryNoise("wa", 0.0)):
        start, order = noise(queries, ORDER)
        assert torch.equal(order, ORDER)
        assert torch.equal(sources(start), ORDER[..., None].expand(-1, -1, D).float())


def test_random_shuffling_is_a_permutation_of_each_stream(queries: Tensor) -> None:
    start, order = QueryNoise("rs", 1.0)(queries, ORDER)
    assert torch.equal(sources(start), order[..., None].expand(-1, -1, D).float())
    assert (order.sort(1).values == torch.arange(Q)).all()
    assert len({tuple(x) for x in order.tolist()}) > B / 2


def test_weighted_averages_of_a_query_and_another(queries: Tensor) -> None:
    """Slot j: w e[j] + (1 - w) e[p(j)], in segmenter order; it stands for the larger share."""
    start, order = QueryNoise("wa", 1.0)(queries, ORDER)
    value = sources(start)
    assert torch.allclose(value, value[..., :1].expand_as(value))
    value, own = value[..., 0], torch.arange(Q).float()
    other = order != torch.arange(Q)
    assert 0.3 < other.float().mean() < 0.5
    # where another query has the larger share, the value is nearer to it
    near, far = (value - order).abs()[other], (value - own).abs()[other]
    assert (near <= far + 1e-4).all()
    assert ((value - own).abs() > 1e-3).float().mean() > 0.7
    assert (value >= -1e-3).all()
    assert (value <= Q - 1 + 1e-3).all()


def test_weights_are_uniform() -> None:
    """With two queries of which one is zero, the share can be read where they are mixed."""
    queries = torch.tensor([1.0, 0.0])[:, None].expand(4000, 2, 1)
    start, _ = QueryNoise("wa", 1.0)(queries, torch.zeros(4000, 2, dtype=torch.long))
    share = start[:, 0, 0]
    mixed = share[share < 1]
    assert len(mixed) == pytest.approx(2000, rel=0.1)
    assert torch.histc(mixed, 4, 0, 1).tolist() == pytest.approx([500] * 4, rel=0.15)


def test_channels_of_a_query_and_another(queries: Tensor) -> None:
    """The first c channels from j, the rest from p(j); c decides for which of them it stands."""
    start, order = QueryNoise("cc", 1.0)(queries, ORDER)
    value, own = sources(start), torch.arange(Q)[:, None]
    cuts = (value == own).long().cumprod(-1).sum(-1)
    rest = value[..., -1]
    mixed = (cuts < D) & (rest != own[:, 0])
    for b, i in mixed.nonzero().tolist():
        cut = int(cuts[b, i])
        assert (value[b, i, cut:] == rest[b, i]).all()
        assert order[b, i] == (i if cut >= D / 2 else rest[b, i])
    counts = torch.bincount(cuts[mixed], minlength=D)
    assert (counts > 0.5 * counts.float().mean()).all()


def test_the_share_of_noisy_frames(queries: Tensor) -> None:
    """Each stream draws for itself, all of its slots together."""
    many = torch.cat([queries] * 30)
    order = torch.cat([ORDER] * 30)
    start, _ = QueryNoise("wa", 0.3)(many, order)
    aligned = many.gather(1, order[..., None].expand_as(many))
    noisy = (start != aligned).flatten(1).any(1)
    assert noisy.float().mean() == pytest.approx(0.3, abs=0.04)


def test_gradients_reach_the_queries() -> None:
    for mode in ("rs", "wa", "cc"):
        queries = torch.randn(B, Q, D, requires_grad=True)
        start, _ = QueryNoise(mode, 1.0)(queries, ORDER)  # type: ignore[arg-type]
        start.sum().backward()
        assert queries.grad is not None
        assert queries.grad.sum() == pytest.approx(B * Q * D, rel=1e-4)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BenchError, match="noise mode 'ws'"):
        QueryNoise("ws")  # type: ignore[arg-type]
    for ratio in (-0.1, 1.5, float("nan")):
        with pytest.raises(BenchError, match="must be a probability"):
            QueryNoise("wa", ratio)
