"""Counts against closed forms, against the official numbers, and what must be refused."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from videomt_bench.cost import count as counting
from videomt_bench.cost.attention import attention_kernel, unfused_attention
from videomt_bench.cost.count import count_macs
from videomt_bench.cost.operators import ESTIMATED, HANDLERS, NEGLIGIBLE, is_negligible, matters
from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import Cost
from videomt_bench.models.memories import LearnedQueries, QueryFusion, QueryPropagation
from videomt_bench.models.trackers import EmbeddingMatching
from videomt_bench.models.variant import SlotSizes

Q, D, C = 5, 8, 3
H, W = 16, 24
PATCHES = H * W // 16
SIZES = SlotSizes(Q, D, C)
TOY = 3 * 16 * D * PATCHES + Q * D * PATCHES + Q * D * (C + 1) + Q * D * D
"""Patch convolution, mask product, class head, query fusion."""


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class SelfAttention(nn.Module):
    """Linear, then scaled_dot_product_attention of 2 heads: the fused kernel, written plainly."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(D, 3 * D)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, D // 2)).permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).flatten(2)


class Multihead(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def macs(model):
    return count_macs(model, H, W).gmacs * 1e9


def test_closed_form_of_convolution_einsum_and_linear(toy, way):
    result = count_macs(toy(), H, W)
    assert result.gmacs * 1e9 == pytest.approx(TOY, abs=0.5)
    assert result.gflops * 1e9 == pytest.approx(2 * TOY, abs=0.5)
    assert result.uncounted == {}
    assert result.by_operator.keys() == {"conv", "einsum", "linear"}
    assert result.by_operator["conv"] * 1e9 == pytest.approx(3 * 16 * D * PATCHES)


@pytest.mark.parametrize(
    ("extra", "added"),
    [
        (SelfAttention, 3 * Q * D * D + 2 * Q * Q * D),
        (Multihead, 4 * Q * D * D + 2 * Q * Q * D),
        (lambda: Lambda(lambda x: x @ x.mT @ x), 2 * Q * Q * D),
        (lambda: Lambda(lambda x: x + (x @ x[0, 0])[..., None]), Q * D),
        (lambda: Lambda(lambda x: torch.baddbmm(x, x @ x.mT, x)), 2 * Q * Q * D),
        (lambda: Lambda(lambda x: torch.einsum("...qd,kd", x, x[0]) @ x), 2 * Q * Q * D),
        (lambda: Lambda(lambda x: torch.einsum("bqd,bqd->bqd", x, x)), 0),
        (lambda: Lambda(lambda x: nn.functional.softmax(x, -1).sigmoid().cumsum(1)), 0),
        (lambda: nn.Sequential(nn.ConvTranspose1d(Q, Q, 2, 2), nn.MaxPool1d(2)), 2 * Q * Q * D),
        (lambda: nn.Sequential(nn.Conv1d(Q, Q, 3, padding=1, groups=Q)), 3 * Q * D),
        (lambda: nn.LayerNorm(D), 5 * Q * D),
    ],
)
def test_closed_form_of_one_more_part(toy, way, extra, added):
    assert macs(toy(extra())) - TOY == pytest.approx(added, abs=0.5)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_are_counted(toy, way, kind, gates):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = kind(D, D, batch_first=True)

        def forward(self, x):
            return self.layer(x)[0]

    assert macs(toy(Recurrent())) - TOY == pytest.approx(2 * gates * Q * D * D, abs=0.5)


def test_gru_cell_memory_is_counted(toy, way):
    class Gated(QueryPropagation):
        def __init__(self):
            super().__init__(SIZES)
            self.cell = nn.GRUCell(D, D)

        def update(self, state, output):
            return self.cell(output.queries[0], state[0])[None]

    assert macs(toy(memory=Gated())) == pytest.approx(TOY - Q * D * D + 6 * Q * D * D, abs=0.5)


def test_the_counted_frame_is_not_the_first(toy):
    class FuseLater(QueryFusion):
        def init_state(self, batch):
            return None

        def queries(self, state):
            return self.first_queries(1) if state is None else self.fuse(state)

        def update(self, state, output):
            return output.queries

    assert macs(toy(memory=FuseLater(SIZES))) == pytest.approx(TOY, abs=0.5)


def formula(dim, plain, joint, patches, queries, classes, prefix=5):
    """Section 8.2 of the VidEoMT facts: every product and convolution of a frame."""
    d, p, q = dim, patches, queries
    n1, n2 = p + prefix, p + prefix + q
    encoder = 768 * d * p + 12 * d**2 * (plain * n1 + joint * n2)
    attention = 2 * d * (plain * n1**2 + joint * n2**2)
    upscale = 20 * d**2 * p + 180 * d * p
    heads = 3 * d**2 * q + q * d * (classes + 1) + 16 * q * d * p
    return encoder + attention + upscale + heads + q * d**2


@pytest.mark.parametrize(
    ("size", "dim", "plain", "joint", "official"),
    [
        ("small", 384, 9, 3, 57.1),
        ("base", 768, 9, 3, 184.4),
        ("large", 1024, 20, 4, 573.0),
    ],
)
def test_videomt_costs_what_the_official_code_does(videomt, size, dim, plain, joint, official):
    model = videomt(f"vit_{size}_patch14_reg4_dinov2", 200, device="meta")
    result = count_macs(model, 448, 800)
    expected = formula(dim, plain, joint, 28 * 50, 200, 40)
    products = sum(v for k, v in result.by_operator.items() if k not in ESTIMATED)
    assert products * 1e9 == pytest.approx(expected, rel=1e-9)
    assert result.gflops * 1e9 == pytest.approx(2 * expected, rel=1e-9)
    assert result.gmacs == pytest.approx(official, rel=0.001)
    assert result.uncounted == {}


@pytest.mark.filterwarnings("ignore:TF32")
def test_shapes_and_values_give_the_same_count(videomt):
    model = videomt("vit_tiny_conv_patch8", 7).eval()
    with torch.no_grad():
        shapes = counting._from_shapes(model, 64, 96, 21)
    assert shapes == count_macs(model, 64, 96, shapes=False)


def test_queries_that_learn_are_counted_with_values(toy):
    """A view of a parameter without gradients is what PyTorch's counter cannot hook into."""
    model = toy(memory=LearnedQueries(SIZES))
    assert count_macs(model, H, W, shapes=False) == count_macs(model, H, W)


def test_a_model_that_cannot_run_keeps_both_reasons(toy):
    def fails(x):
        raise ValueError("without values" if x.is_meta else "with values")

    with pytest.raises(ValueError, match="with values") as error:
        count_macs(toy(extra=Lambda(fails)), H, W)
    assert str(error.value.__context__) == "without values"


def test_the_cost_matrix_of_a_matching_tracker_is_counted_without_values_too(toy):
    model = toy(tracker=EmbeddingMatching()).eval()
    with torch.no_grad():
        assert counting._from_shapes(model, H, W, 21) == counting._from_values(model, H, W, 21)
    assert macs(toy(tracker=EmbeddingMatching())) - TOY == pytest.approx(Q * Q * D, abs=0.5)


def test_attention_that_nobody_counts_is_refused(toy, videomt, monkeypatch):
    handlers = {k: v for k, v in HANDLERS.items() if "attention" not in k}
    monkeypatch.setattr(counting, "HANDLERS", handlers)
    monkeypatch.setattr(counting, "unfused_attention", lambda model: nullcontext())
    with pytest.raises(BenchError, match="scaled_dot_product_attention"):
        count_macs(toy(SelfAttention()), H, W)
    with pytest.raises(BenchError, match="scaled_dot_product_attention"):
        count_macs(videomt("vit_tiny_conv_patch8", 7), 64, 96)


def test_disagreeing_counters_are_refused(toy, monkeypatch):
    broken = {**HANDLERS, "aten::einsum": lambda inputs, outputs: 0.0}
    monkeypatch.setattr(counting, "HANDLERS", broken)
    with pytest.raises(BenchError, match="disagree"):
        count_macs(toy(), H, W)


def test_a_custom_operator_is_refused_until_its_formula_is_registered(toy):
    @torch.library.custom_op("costtest::square_product", mutates_args=())
    def square_product(x: torch.Tensor) -> torch.Tensor:
        return x @ x.mT @ x

    @square_product.register_fake
    def _(x):
        return torch.empty_like(x)

    model = toy(Lambda(square_product))
    with pytest.raises(BenchError, match="costtest::square_product"):
        count_macs(model, H, W)
    packet = torch.ops.costtest.square_product
    try:

        @register_flop_formula(packet)
        def _(shape, *args, out_shape=None, **kwargs):
            return 4 * shape[0] * shape[1] ** 2 * shape[2]

        assert macs(model) - TOY == pytest.approx(2 * Q * Q * D, abs=0.5)
    finally:
        flop_registry.pop(packet, None)


def test_an_autograd_function_is_refused(toy):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x @ x.mT @ x

    with pytest.raises(BenchError, match="Square"):
        count_macs(toy(Lambda(Square.apply)), H, W)


def test_an_unknown_harmless_operator_is_reported(toy):
    result = count_macs(toy(Lambda(torch.special.i0e)), H, W)
    assert result.uncounted == {"aten::special_i0e": 1}


def test_declared_cost_is_added(toy):
    class Declared(QueryFusion):
        def cost(self):
            return Cost(macs=1e6, notes=["a table look-up"])

    result = count_macs(toy(memory=Declared(SIZES)), H, W)
    assert result.gmacs * 1e9 == pytest.approx(TOY + 1e6, abs=0.5)
    assert result.gflops * 1e9 == pytest.approx(2 * (TOY + 1e6), abs=0.5)
    assert result.notes == ["memory: a table look-up"]


def test_the_model_is_left_as_it_was(videomt):
    model = videomt("vit_tiny_conv_patch8", 7).train()
    model.segmenter.encoder.eval()
    model.memory.learned.requires_grad_(False)
    fused = [m for m in model.modules() if hasattr(m, "fused_attn")]
    fused[0].fused_attn = False
    modes = {name: m.training for name, m in model.named_modules()}
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    learning = [p.requires_grad for p in model.parameters()]
    count_macs(model, 64, 96)
    assert [p.requires_grad for p in model.parameters()] == learning
    assert {name: m.training for name, m in model.named_modules()} == modes
    assert [m.fused_attn for m in fused] == [False] + [True] * (len(fused) - 1)
    assert all(torch.equal(x, weights[name]) for name, x in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_unfusing_restores_after_an_error(videomt):
    model = videomt("vit_tiny_conv_patch8", 7)
    with suppress(RuntimeError), unfused_attention(model):
        assert attention_kernel(model) == "unfused"
        raise RuntimeError
    assert attention_kernel(model) == "fused"


def test_pytorchs_counter_needs_unfused_attention_on_the_cpu(toy):
    """The reason for the context manager; if this fails, PyTorch has learned to count it."""
    x = torch.zeros(1, Q, D)
    layer = SelfAttention().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as fused:
        layer(x)
    with torch.no_grad(), unfused_attention(layer), FlopCounterMode(display=False) as unfused:
        layer(x)
    assert unfused.get_total_flops() - fused.get_total_flops() == 4 * Q * Q * D


def test_the_table_hides_no_product():
    names = {name for group in NEGLIGIBLE.values() for name in group.split()}
    assert not names & {name.removeprefix("aten::") for name in HANDLERS}
    assert is_negligible("aten::add_")
    assert is_negligible("aten::_upsample_bicubic2d_aa")
    assert not is_negligible("other::add")
    for name in ("aten::_native_multi_head_attention", "aten::conv_tbc", "aten::cdist", "aten::mm"):
        assert matters(name)
        assert not is_negligible(name)
    assert matters("prim::PythonOp.Mine")
    assert not matters("aten::special_i0e")
