"""What each component costs: closed forms, exclusive times, and nothing counted twice."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

from videomt_bench.cost import breakdown as timing
from videomt_bench.cost.breakdown import breakdown, component_times
from videomt_bench.cost.clock import Setting, running
from videomt_bench.cost.components import METHODS, count_parameters, watched
from videomt_bench.cost.count import count_macs
from videomt_bench.cost.measure import measure_cost
from videomt_bench.cost.names import ordered
from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import Cost
from videomt_bench.models.deformable import DeformableAttention
from videomt_bench.models.memories import QueryFusion
from videomt_bench.models.trackers import QueryIndex
from videomt_bench.models.variant import SlotSizes

Q, D, C = 5, 8, 3
H, W = 16, 24
P = H * W // 16
TOY = {"other": 3 * 16 * D * P + Q * D * P + Q * D * (C + 1), "memory": Q * D * D}


class Inner(nn.Module):
    """A component inside another, with a layer of its own and one in a module without a name."""

    component = "tracker"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, 3 * D)
        self.nameless = nn.Sequential(nn.ReLU(), nn.Linear(3 * D, D, bias=False))

    def forward(self, x):
        return self.nameless(self.layer(x))


class Outer(nn.Module):
    """Works before and after the component inside it."""

    component = "decoder"

    def __init__(self, borrowed=None):
        super().__init__()
        self.before = nn.Linear(D, D)
        self.inner = Inner()
        self.borrowed = [borrowed] if borrowed is not None else []

    def forward(self, x):
        x = self.inner(self.before(x))
        x = x @ x.mT @ x
        for module in self.borrowed:
            x = module(x)
        return x


NESTED = {**TOY, "decoder": Q * D * D + 2 * Q * Q * D, "tracker": 2 * Q * D * 3 * D}
NESTED_PARAMS = {
    "other": (3 * 16 + 1) * D + (D + 1) * (C + 1),
    "memory": Q * D + (D + 1) * D,
    "decoder": (D + 1) * D,
    "tracker": (D + 1) * 3 * D + 3 * D * D,
}


def macs(model):
    return {k: round(c.gmacs * 1e9, 3) for k, c in breakdown(model, H, W).items()}


def test_closed_forms_of_nested_components(toy, way):
    model = toy(Outer())
    assert macs(model) == NESTED
    assert {k: c.params for k, c in breakdown(model, H, W).items()} == NESTED_PARAMS
    assert list(macs(model)) == ["decoder", "tracker", "memory", "other"]


def test_components_add_up_to_the_total(toy, videomt):
    for model, size in [(toy(Outer()), (H, W)), (videomt("vit_tiny_conv_patch8", 7), (64, 96))]:
        result = count_macs(model, *size)
        parts = [n for operators in result.by_component.values() for n in operators.values()]
        assert sum(round(n * 1e9) for n in parts) == round(result.gmacs * 1e9)
        shares = breakdown(model, *size)
        assert sum(c.gmacs for c in shares.values()) == pytest.approx(result.gmacs, rel=1e-12)
        assert sum(c.params for c in shares.values()) == sum(p.numel() for p in model.parameters())


def test_videomt_by_component(videomt):
    """Section 8.2 of the VidEoMT facts, split: ViT, heads on top, query fusion."""
    model = videomt("vit_small_patch14_reg4_dinov2", 200, device="meta")
    products = {
        name: 1e9 * sum(n for op, n in operators.items() if op != "layer_norm")
        for name, operators in count_macs(model, 448, 800).by_component.items()
    }
    d, q, p, n1, n2 = 384, 200, 28 * 50, 28 * 50 + 5, 28 * 50 + 205
    blocks = 12 * d**2 * (9 * n1 + 3 * n2) + 2 * d * (9 * n1**2 + 3 * n2**2)
    heads = 20 * d**2 * p + 180 * d * p + 3 * d**2 * q + q * d * 41 + 16 * q * d * p
    expected = {"encoder": 768 * d * p + blocks, "heads": heads, "memory": q * d**2}
    assert products == pytest.approx(expected, rel=1e-12)


def test_a_borrowed_module_without_a_component_works_for_its_caller(toy, way):
    helper = nn.Linear(D, D)
    model = toy(Outer(helper))
    model.segmenter.helper = helper
    assert macs(model) == {**NESTED, "decoder": NESTED["decoder"] + Q * D * D}
    assert count_parameters(model)["other"] == NESTED_PARAMS["other"] + (D + 1) * D


def test_a_borrowed_module_with_a_component_keeps_it(toy, way):
    helper = Inner()
    model = toy(Outer(helper))
    model.segmenter.helper = helper
    assert macs(model) == {**NESTED, "tracker": 2 * NESTED["tracker"]}


def test_work_in_the_methods_of_the_contract_belongs_to_their_part(toy, way):
    model = toy(Outer())
    model.segmenter.component = "heads"
    expected = {**NESTED, "heads": NESTED["other"]}
    del expected["other"]
    assert macs(model) == expected


def test_work_of_a_tracker_and_of_a_memory_without_modules(toy, way):
    class Products(QueryIndex):
        component = "tracker"

        def track(self, output, features, state):
            output.queries = output.queries @ output.queries.mT @ output.queries
            return output, state

    class Square(QueryFusion):
        def queries(self, state):
            return state @ state.mT @ state

    model = toy(memory=Square(SlotSizes(Q, D, C)), tracker=Products())
    product = 2 * Q * Q * D
    assert macs(model) == {**TOY, "memory": TOY["memory"] + product, "tracker": product}


def test_a_module_called_again_by_its_own_method(toy, way):
    class Again(Inner):
        def forward(self, x, again=True):
            return self(super().forward(x), again=False) if again else super().forward(x)

    assert macs(toy(Again())) == {**TOY, "tracker": 2 * NESTED["tracker"]}


def test_parameters_in_two_places_are_counted_once(toy):
    outer = Outer()
    outer.inner.layer.weight = nn.Parameter(torch.zeros(3 * D, D))
    outer.copy = nn.Linear(D, 3 * D, bias=False)
    outer.copy.weight = outer.inner.layer.weight
    outer.again = outer.inner
    model = toy(outer)
    assert count_parameters(model) == NESTED_PARAMS
    assert sum(NESTED_PARAMS.values()) == sum(p.numel() for p in model.parameters())


def test_declared_cost_belongs_to_its_part(toy):
    class Declared(QueryFusion):
        def cost(self):
            return Cost(macs=1e6)

    model = toy(memory=Declared(SlotSizes(Q, D, C)))
    assert macs(model)["memory"] == TOY["memory"] + 1e6


def test_a_registered_operator_belongs_to_the_module_that_calls_it(toy):
    @torch.library.custom_op("breakdowntest::products", mutates_args=())
    def products(x: torch.Tensor) -> torch.Tensor:
        return x @ x.mT @ x

    @products.register_fake
    def _(x):
        return torch.empty_like(x)

    class Custom(nn.Module):
        def __init__(self, component):
            super().__init__()
            self.component = component

        def forward(self, x):
            return products(x)

    packet = torch.ops.breakdowntest.products
    try:

        @register_flop_formula(packet)
        def _(shape, *args, out_shape=None, **kwargs):
            return 4 * shape[0] * shape[1] ** 2 * shape[2]

        model = toy(nn.Sequential(Custom("decoder"), Custom("adapter"), Custom("decoder")))
        found = macs(model)
    finally:
        flop_registry.pop(packet, None)
    assert found == {**TOY, "decoder": 4 * Q * Q * D, "adapter": 2 * Q * Q * D}


class Clock:
    """Seconds that pass only where a module says so."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


class Busy(nn.Module):
    """Takes some milliseconds before and after what is inside it."""

    def __init__(self, component, clock, before, inside=None, after=0):
        super().__init__()
        self.component = component
        self.clock, self.before, self.after = clock, before, after
        self.inside = nn.Identity() if inside is None else inside

    def forward(self, x):
        self.clock.now += self.before / 1e3
        x = self.inside(x)
        self.clock.now += self.after / 1e3
        return x


def timed(model, frames=3, warmup=2, load=lambda i: torch.zeros(1, 3, H, W)):
    with running(model, Setting()) as stream:
        return component_times(stream, frames, warmup, load)


def test_times_are_exclusive_and_add_up(toy, clock):
    same = Busy("decoder", clock, 2)
    nested = Busy("decoder", clock, 8, Busy("tracker", clock, 32, same), after=64)
    model = toy(nn.Sequential(Busy(None, clock, 1), nested))
    model.memory.fuse = nn.Sequential(Busy(None, clock, 128), model.memory.fuse)
    expected = {"decoder": 8 + 2 + 64, "tracker": 32, "memory": 128, "other": 1}
    assert timed(model) == pytest.approx(expected)


def test_neither_warm_up_nor_loading_is_timed(toy, clock):
    busy = Busy("decoder", clock, 1000)

    def load(i):
        clock.now += 5
        busy.before = 1000 if i < 2 else i
        return torch.zeros(1, 3, H, W)

    assert timed(toy(busy), 3, 2, load) == pytest.approx({"decoder": 3, "memory": 0, "other": 0})


def test_the_sum_is_the_time_of_the_step(toy, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(timing, "time", clock := Clock())
    monkeypatch.setattr(clock, "perf_counter", lambda: next(ticks) ** 2 / 1e3)
    spans = []
    monkeypatch.setattr(
        timing._Laps,
        "milliseconds",
        lambda laps, whole=timing._Laps.milliseconds: (
            spans.append((laps.marks[-1] - laps.marks[0]) * 1e3) or whole(laps)
        ),
    )
    assert sum(timed(toy(Outer()), 4, 0).values()) * 4 == pytest.approx(sum(spans), rel=1e-12)


def test_real_times_add_up_to_what_the_step_takes(toy):
    class Sleep(nn.Module):
        def __init__(self, component):
            super().__init__()
            self.component = component

        def forward(self, x):
            time.sleep(0.02)
            return x

    model = toy(nn.Sequential(Sleep("decoder"), Sleep("re-ID"), Sleep("decoder")))
    start = time.perf_counter()
    found = timed(model, 2, 0)
    elapsed = (time.perf_counter() - start) * 1e3 / 2
    assert found["decoder"] >= 40
    assert found["re-ID"] >= 20
    assert sum(found.values()) <= elapsed


def test_nothing_is_left_behind_even_after_an_error(toy):
    class Fails(nn.Module):
        component = "decoder"

        def forward(self, x):
            raise RuntimeError

    model = toy(nn.Sequential(Fails()))
    model.memory.queries = model.memory.queries  # an attribute of the instance is put back
    names = {part: dict(vars(part)) for part in model.modules()}
    left = []
    with pytest.raises(RuntimeError), watched(model, left.append):
        model.step(torch.zeros(1, 3, H, W), model.init_state(1))
    assert left == ["other", "memory", "other", "decoder"]
    assert {part: dict(vars(part)) for part in model.modules()} == names
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not set(METHODS) & set(vars(model.segmenter))


def test_a_part_with_a_forward_of_its_own(toy):
    class Called(QueryFusion):
        def forward(self, *, output):
            return self.fuse(output.queries)

        def update(self, state, output):
            return self(output=output)

    assert macs(toy(memory=Called(SlotSizes(Q, D, C)))) == TOY


def test_too_few_frames_are_refused(toy):
    with pytest.raises(BenchError, match="0 frames"):
        timed(toy(), 0)


def test_order_of_components():
    names = ["other", "zebra", "memory", "encoder", "apple", "re-ID", "memory"]
    assert ordered(names) == ["encoder", "re-ID", "memory", "apple", "zebra", "other"]


QUICK = {"frames": 2, "warmup": 0, "device": "cpu", "source": (36, 64)}


def test_the_record_has_the_breakdown(toy):
    cost = measure_cost(toy(Outer()), H, W, **QUICK)
    components = cost["components"]
    assert list(components) == ["decoder", "tracker", "memory", "other"]
    for name, values in components.items():
        assert values.keys() == {"params", "gmacs", "milliseconds"}
        assert values["params"] == NESTED_PARAMS[name]
        assert values["milliseconds"] > 0
    assert sum(v["params"] for v in components.values()) == cost["params"]
    assert sum(v["gmacs"] for v in components.values()) == pytest.approx(cost["gmacs"], rel=1e-12)
    assert "deformable_attention" not in cost["protocol"]


def test_the_record_without_counts_or_times(toy):
    cost = measure_cost(toy(Outer()), H, W, count=False, time=False, **QUICK)
    assert {v["gmacs"] for v in cost["components"].values()} == {None}
    assert {v["milliseconds"] for v in cost["components"].values()} == {None}


def test_the_protocol_says_how_deformable_attention_was_sampled(toy):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = DeformableAttention(D, heads=2, levels=1)

        def forward(self, x):
            points = torch.full((1, Q, 1, 2), 0.5)
            return self.attention(x, points, x[:, :4], [(2, 2)])

    cost = measure_cost(toy(Looks()), H, W, time=False, **QUICK)
    assert cost["protocol"]["deformable_attention"] == "grid_sample"
    # 2 heads of 4 channels, 4 points: fvcore's estimate of four operations per sampled value
    assert cost["by_operator"]["grid_sampler"] * 1e9 == pytest.approx(4 * Q * 4 * D)
