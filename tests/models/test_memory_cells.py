"""Memory cells against PyTorch's own, closed recurrences in float64, and their rules by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from videomt_bench.errors import BenchError
from videomt_bench.models import FrameOutput, QueryMemory, SlotSizes, load_variant

B, Q, D, C, FRAMES = 2, 5, 16, 3, 6
RECURRENT = ("gru", "deep_gru", "lstm", "s5", "memory_bank", "ema_bank", "slot_memory")


def memory(name: str, **options: Any) -> QueryMemory:
    torch.manual_seed(0)
    factory = load_variant(name).memory
    return partial(factory, **options)(SlotSizes(Q, D, C)).double().eval()


def outputs() -> list[FrameOutput]:
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(FRAMES, B, Q, D, generator=generator, dtype=torch.float64)
    classes = 3 * torch.randn(FRAMES, B, Q, C + 1, generator=generator, dtype=torch.float64)
    return [
        FrameOutput(c, c[..., None][..., :0, :], q, q)
        for q, c in zip(queries, classes, strict=True)
    ]


def entered(cell: QueryMemory) -> list[Tensor]:
    """The queries that enter each frame after the first."""
    state, found = cell.init_state(B), []
    for output in outputs():
        state = cell.update(state, output)
        found.append(cell.queries(state))
    return found


def fused(cell: Any, remembered: Tensor) -> Tensor:
    return cell.fuse(remembered) + cell.learned.weight


@torch.no_grad()
def test_gru_against_torch() -> None:
    cell = memory("gru")
    theirs = nn.GRUCell(D, D).double()
    theirs.load_state_dict(
        {
            "weight_ih": cell.gru.input.weight,
            "bias_ih": cell.gru.input.bias,
            "weight_hh": cell.gru.hidden.weight,
            "bias_hh": cell.gru.hidden.bias,
        }
    )
    h = cell.learned.weight.repeat(B, 1)
    for output, found in zip(outputs(), entered(cell), strict=True):
        h = theirs(output.queries.reshape(-1, D), h)
        torch.testing.assert_close(found, fused(cell, h.view(B, Q, D)), atol=1e-6, rtol=0)


@torch.no_grad()
def test_lstm_against_torch() -> None:
    cell = memory("lstm")
    theirs = nn.LSTMCell(D, D).double()
    # PyTorch's order is input, forget, cell, output, as here
    theirs.load_state_dict(
        {
            "weight_ih": cell.input.weight,
            "bias_ih": cell.input.bias,
            "weight_hh": cell.hidden.weight,
            "bias_hh": cell.hidden.bias,
        }
    )
    h = cell.learned.weight.repeat(B, 1)
    c = torch.zeros_like(h)
    for output, found in zip(outputs(), entered(cell), strict=True):
        h, c = theirs(output.queries.reshape(-1, D), (h, c))
        torch.testing.assert_close(found, fused(cell, h.view(B, Q, D)), atol=1e-6, rtol=0)


@torch.no_grad()
def test_s5_against_a_sequential_recurrence_of_complex_numbers() -> None:
    """In complex128, and once more as the sum over all inputs that it solves."""
    cell = memory("s5")
    rate = torch.complex(-cell.log_decay.exp(), cell.frequency)
    step = cell.log_step.exp()
    power = torch.exp(rate * step)
    real, imaginary = cell.read.weight.chunk(2)
    enter = ((power - 1) / rate)[:, None] * torch.complex(real, imaginary)
    out_real, out_imaginary = cell.write.weight.chunk(2, 1)
    leave = torch.complex(out_real, -out_imaginary)

    def driven(u: Tensor) -> Tensor:
        return u.to(torch.complex128) @ enter.mT

    inputs = [cell.learned.weight.expand(B, -1, -1), *(o.queries for o in outputs())]
    x = driven(inputs[0])
    for t, found in enumerate(entered(cell), start=1):
        x = power * x + driven(inputs[t])
        closed = sum(power ** (t - s) * driven(inputs[s]) for s in range(t + 1))
        torch.testing.assert_close(x, closed, atol=1e-9, rtol=0)
        y = 2 * (x @ leave.mT).real + cell.skip * inputs[t]
        torch.testing.assert_close(found, fused(cell, y), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_bank_holds_the_last_frames() -> None:
    """Attention over the last five, newest last, written out for every query."""
    cell = memory("memory_bank")
    past = [cell.learned.weight.expand(B, -1, -1)] * 5
    for output, found in zip(outputs(), entered(cell), strict=True):
        past = [*past[1:], output.queries]
        entries = torch.stack([cell.key_value(cell.norm(x)) for x in past], 2)
        key, value = entries.chunk(2, -1)
        query = cell.query(cell.norm(output.queries))
        read = nn.functional.scaled_dot_product_attention(
            query.view(B, Q, 8, 1, -1),
            (key + cell.age).view(B, Q, 5, 8, -1).transpose(2, 3),
            value.reshape(B, Q, 5, 8, -1).transpose(2, 3),
        )
        remembered = output.queries + cell.project(read.reshape(B, Q, D))
        torch.testing.assert_close(found, fused(cell, remembered), atol=1e-6, rtol=0)


@torch.no_grad()
def test_running_means_with_other_decays() -> None:
    cell = memory("ema_bank")
    decay = cell.decay.sigmoid()
    assert (decay[0] < 0.05).all()
    assert (decay[2] > 0.9).all()
    means = [cell.learned.weight.expand(B, -1, -1)] * 3
    for output, found in zip(outputs(), entered(cell), strict=True):
        means = [a * m + (1 - a) * output.queries for a, m in zip(decay, means, strict=True)]
        torch.testing.assert_close(found, fused(cell, cell.mix(torch.cat(means, -1))))


@torch.no_grad()
def test_slots_share_what_the_queries_say() -> None:
    """Each query's output is divided among the slots; a slot reads a mean of what it gets."""
    cell = memory("slot_memory")
    h = cell.learned.weight.expand(B, -1, -1)
    for output, found in zip(outputs(), entered(cell), strict=True):
        key, value = cell.key_value(cell.output_norm(output.queries)).chunk(2, -1)
        scores = torch.einsum("bsd,bqd->bsq", cell.query(cell.slot_norm(h)), key) / D**0.5
        share = scores.exp() / scores.exp().sum(1, keepdim=True)
        read = torch.einsum("bsq,bqd->bsd", share / share.sum(2, keepdim=True), value)
        h = cell.gru(read, h)
        torch.testing.assert_close(found, fused(cell, h + output.queries), atol=1e-5, rtol=0)


@torch.no_grad()
def test_queries_without_an_object_are_reset() -> None:
    cell = memory("nonobject_reset")
    for output, found in zip(outputs(), entered(cell), strict=True):
        for b in range(B):
            for q in range(Q):
                empty = int(output.class_logits[b, q].argmax()) == C
                expected = cell.learned.weight[q] if empty else output.queries[b, q]
                assert torch.equal(found[b, q], expected)


@torch.no_grad()
def test_fusion_by_objectness_and_by_a_gate() -> None:
    objects, gated = memory("object_fusion"), memory("gated_fusion")
    for output, a, b in zip(outputs(), entered(objects), entered(gated), strict=True):
        p = 1 - output.class_logits.softmax(-1)[..., C:]
        torch.testing.assert_close(a, p * objects.fuse(output.queries) + objects.learned.weight)
        gate = 2 / (1 + (-gated.gate(gated.norm(output.queries))).exp())
        torch.testing.assert_close(b, gate * gated.fuse(output.queries) + gated.learned.weight)


@pytest.mark.parametrize("name", RECURRENT)
@torch.no_grad()
def test_where_a_hidden_state_starts(name: str) -> None:
    """The first frame sees the learned queries; the second depends on the start."""
    seen = {}
    for start in ("queries", "zeros", "noise", "learned"):
        cell = memory(name, start=start)
        assert torch.equal(cell.queries(cell.init_state(B))[0], cell.learned.weight)
        if start == "learned":
            cell.first.normal_(generator=torch.Generator().manual_seed(2))
        cell.learned.weight.copy_(memory(name).learned.weight)
        seen[start] = entered(cell)[0]
        assert torch.equal(seen[start], entered(cell)[0]), "evaluation draws nothing"
    for a, b in (("queries", "zeros"), ("zeros", "noise"), ("zeros", "learned")):
        assert (seen[a] - seen[b]).abs().max() > 1e-9
    noisy = memory(name, start="noise").train()
    assert not torch.equal(entered(noisy)[0], entered(noisy)[0])


def test_an_unknown_start() -> None:
    with pytest.raises(BenchError, match=r"'ones'.*queries, zeros|'ones'.*zeros"):
        memory("gru", start="ones")


def test_new_variants_are_short() -> None:
    files = {n: Path(load_variant(n).file) for n in (*RECURRENT, "object_fusion")}
    lines = {n: len(file.read_text().splitlines()) for n, file in files.items()}
    assert max(lines.values()) <= 80
    assert min(lines.values()) <= 30
