"""The slot branch: a plain re-statement of a layer, competition, hidden queries, first contents."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from videomt_bench.models.slot_attention import SlotLayer, nearest_queries
from videomt_bench.models.variant import DecoderSizes

SIZES = DecoderSizes(dim=8, heads=2, ffn=16)
S, Q = 4, 6


@pytest.fixture
def layer() -> SlotLayer:
    torch.manual_seed(0)
    layer = SlotLayer(SIZES).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return layer


def inputs() -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    return tuple(torch.randn(1, n, SIZES.dim, generator=g) for n in (S, S, S, Q))


def numbers(layer: SlotLayer) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in layer.named_parameters()}


def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    mean, deviation = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
    return (x - mean) / np.sqrt(deviation**2 + 1e-5) * weight + bias


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def restated(w: dict[str, np.ndarray], content, identity, slots, queries) -> np.ndarray:
    """DVIS-DAQ as the facts have it, one slot after the other."""
    d, heads = SIZES.dim, SIZES.heads
    wq, wk, wv = np.split(w["cross_attention.in_proj_weight"], 3)
    bq, bk, bv = np.split(w["cross_attention.in_proj_bias"], 3)
    seen = np.zeros_like(content)
    for n in range(S):
        q = wq @ (content[n] + identity[n]) + bq
        parts = []
        for h in range(heads):
            own = slice(h * d // heads, (h + 1) * d // heads)
            k, v = queries @ wk.T + bk, queries @ wv.T + bv
            parts.append(softmax(k[:, own] @ q[own] / np.sqrt(d / heads)) @ v[:, own])
        out = w["cross_attention.out_proj.weight"] @ np.concatenate(parts)
        seen[n] = out + w["cross_attention.out_proj.bias"]
    key = norm(content + seen, w["content_norm.weight"], w["content_norm.bias"])
    query = norm(slots, w["slot_norm.weight"], w["slot_norm.bias"])
    logits = (key @ w["project_content.weight"].T) @ (query @ w["project_slot.weight"].T).T
    share = softmax(logits / np.sqrt(d)) + 1e-6
    share /= share.sum(0, keepdims=True)
    updates = np.stack([sum(share[n, m] * seen[n] for n in range(S)) for m in range(S)])
    x = norm(content + updates, w["cross_norm.weight"], w["cross_norm.bias"])
    hidden = np.maximum(x @ w["linear1.weight"].T + w["linear1.bias"], 0)
    out = hidden @ w["linear2.weight"].T + w["linear2.bias"]
    return norm(x + out, w["ffn_norm.weight"], w["ffn_norm.bias"])


@torch.no_grad()
def test_a_layer_is_its_restatement(layer: SlotLayer) -> None:
    given = inputs()
    expected = restated(numbers(layer), *(x[0].double().numpy() for x in given))
    np.testing.assert_allclose(layer(*given)[0].numpy(), expected, atol=2e-5)


@torch.no_grad()
def test_what_a_slot_has_seen_is_shared_out_to_all_slots(layer: SlotLayer) -> None:
    content, _, slots, _ = inputs()
    share = layer.competition(content, slots)
    assert share.shape == (1, S, S)
    torch.testing.assert_close(share.sum(-1), torch.ones(1, S))
    assert (share.sum(1) - 1).abs().max() > 1e-3, "not normalised over what was seen"


@torch.no_grad()
def test_no_slot_sees_a_hidden_query(layer: SlotLayer) -> None:
    content, identity, slots, queries = inputs()
    hidden = torch.tensor([[False, True, False, False, True, False]])
    other = queries.clone()
    other[hidden] += 3
    arguments = content, identity, slots
    torch.testing.assert_close(
        layer(*arguments, queries, hidden), layer(*arguments, other, hidden), atol=1e-6, rtol=0
    )
    assert (layer(*arguments, queries) - layer(*arguments, other)).abs().max() > 1e-2


@pytest.mark.parametrize("slots", [3, 5])
def test_first_contents_are_the_best_assignment(slots: int) -> None:
    """Brute force over all assignments of one learned query each; the rest takes its nearest."""
    g = torch.Generator().manual_seed(slots)
    a, b = torch.randn(2, slots, 4, generator=g), torch.randn(2, 4, 4, generator=g)
    found = nearest_queries(a, b)
    for x, y, own in zip(a.double(), b.double(), found.tolist(), strict=True):
        cosine = torch.nn.functional.cosine_similarity(x[:, None], y[None], dim=-1)
        few = min(slots, 4)
        best: tuple[float, dict[int, int]] = (-1e9, {})
        for rows in permutations(range(slots), few):
            columns = range(few)
            for chosen in permutations(range(4), few) if slots < 4 else [tuple(columns)]:
                value = float(sum(cosine[r, c] for r, c in zip(rows, chosen, strict=True)))
                if value > best[0]:
                    best = value, dict(zip(rows, chosen, strict=True))
        expected = [best[1].get(i, int(cosine[i].argmax())) for i in range(slots)]
        assert own == expected
