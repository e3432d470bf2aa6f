"""Deformable attention: known values, two independent restatements, backends, types, counters."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from videomt_bench.errors import BenchError
from videomt_bench.models import deformable
from videomt_bench.models.deformable import (
    DeformableAttention,
    deformable_backend,
    deformable_sampling,
    head_directions,
    reference_points,
    use_backend,
)

SHAPES = [(3, 5), (6, 4), (2, 2)]
CELLS = sum(h * w for h, w in SHAPES)


def inputs(
    batch: int = 2, queries: int = 7, heads: int = 3, width: int = 4, points: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Values, locations inside and outside of the maps, and weights."""
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(batch, CELLS, heads, width, generator=generator)
    shape = (batch, queries, heads, len(SHAPES), points)
    locations = torch.rand(*shape, 2, generator=generator) * 1.6 - 0.3
    weights = torch.rand(*shape, generator=generator)
    return value, locations, weights


def four_corners(value: np.ndarray, locations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum written out sample by sample: (B, Lq, d) of the maps of ``SHAPES``."""
    batch, queries, heads, levels, points, _ = locations.shape
    out = np.zeros((batch, queries, heads, value.shape[-1]))
    starts = np.cumsum([0] + [h * w for h, w in SHAPES])
    for b, q, m, level, p in product(*map(range, (batch, queries, heads, levels, points))):
        rows, columns = SHAPES[level]
        x = locations[b, q, m, level, p, 0] * columns - 0.5
        y = locations[b, q, m, level, p, 1] * rows - 0.5
        for line, column in product((int(np.floor(y)), int(np.floor(y)) + 1), range(columns)):
            share = (1 - abs(y - line)) * max(0.0, 1 - abs(x - column))
            if 0 <= line < rows and share > 0:
                cell = value[b, starts[level] + line * columns + column, m]
                out[b, q, m] += weights[b, q, m, level, p] * share * cell
    return out.reshape(batch, queries, -1)


@pytest.mark.parametrize(
    ("kind", "location", "expected"),
    [
        ("ramp", (0.5, 0.5), 7.5),
        ("ramp", (0.25, 0.75), 10.5),
        ("ones", (0.0, 0.0), 0.25),
        ("ones", (0.5, 0.0), 0.5),
        ("ones", (-0.125, 0.5), 0.0),
    ],
)
def test_known_values(kind: str, location: tuple[float, float], expected: float) -> None:
    """One head, one point, identity projections, a 4×4 map with values 4y + x or 1."""
    attention = DeformableAttention(1, heads=1, levels=1, points=1)
    for layer in (attention.value_proj, attention.output_proj):
        nn.init.ones_(layer.weight)
    nn.init.zeros_(attention.sampling_offsets.bias)
    value = torch.arange(16.0) if kind == "ramp" else torch.ones(16)
    out = attention(torch.zeros(1, 1, 1), torch.tensor([location]), value.view(1, 16, 1), [(4, 4)])
    assert out.item() == pytest.approx(expected, abs=1e-6)


def test_samples_are_sums_over_four_corners() -> None:
    value, locations, weights = inputs()
    expected = four_corners(value.numpy(), locations.numpy(), weights.numpy())
    out = deformable_sampling(value, SHAPES, locations, weights)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-5)


def test_directions_of_the_heads() -> None:
    eight = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    torch.testing.assert_close(head_directions(8), torch.tensor(eight).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(head_directions(16)[::2], head_directions(8), atol=1e-6, rtol=0)
    between = torch.tensor([(1, 0.4142), (0.4142, 1), (-0.4142, 1), (-1, 0.4142)])
    torch.testing.assert_close(head_directions(16)[1:8:2], between, atol=1e-4, rtol=0)
    twelve = torch.tensor([(1, 0), (1, 0.5774), (0.5774, 1), (0, 1)])
    torch.testing.assert_close(head_directions(12)[:4], twelve, atol=1e-4, rtol=0)


def test_a_new_module_looks_around_evenly() -> None:
    attention = DeformableAttention(32, heads=8, levels=2, points=4)
    offsets = attention.sampling_offsets.bias.view(8, 2, 4, 2)
    expected = head_directions(8)[:, None, None] * torch.arange(1.0, 5.0)[:, None]
    torch.testing.assert_close(offsets, expected.expand(8, 2, 4, 2))
    silent = (
        attention.sampling_offsets.weight,
        *attention.attention_weights.parameters(),
        attention.value_proj.bias,
        attention.output_proj.bias,
    )
    assert not any(parameter.any() for parameter in silent)
    bound = (6 / 64) ** 0.5
    assert 0.9 * bound < attention.value_proj.weight.abs().max() <= bound


def test_reference_points_are_cell_centres() -> None:
    points = reference_points([(1, 2), (2, 1)], "cpu")
    expected = [(0.25, 0.5), (0.75, 0.5), (0.5, 0.25), (0.5, 0.75)]
    assert torch.equal(points, torch.tensor(expected))


class TestAgainstTransformers:
    """The pure PyTorch formulation of Mask2Former's port."""

    @pytest.fixture
    def port(self) -> ModuleType:
        return pytest.importorskip("transformers.models.mask2former.modeling_mask2former")

    def test_sampling(self, port: ModuleType) -> None:
        value, locations, weights = inputs(queries=50, heads=4, width=8)
        expected = port.multi_scale_deformable_attention(value, SHAPES, locations, weights)
        out = deformable_sampling(value, SHAPES, locations, weights)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)

    def test_module_with_the_same_weights(self, port: ModuleType) -> None:
        torch.manual_seed(0)
        theirs = port.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(32, 8, 3, 4)
        for parameter in theirs.parameters():
            nn.init.normal_(parameter, std=0.3)
        ours = DeformableAttention(32, heads=8, levels=3)
        ours.load_state_dict(theirs.state_dict())
        value, query = torch.randn(2, CELLS, 32), torch.randn(2, 9, 32)
        reference = torch.rand(2, 9, 3, 2)
        with torch.no_grad():
            expected, _ = theirs(
                query,
                encoder_hidden_states=value,
                reference_points=reference,
                spatial_shapes_list=SHAPES,
            )
            out = ours(query, reference, value, SHAPES)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_one_reference_serves_all_levels_and_frames() -> None:
    attention = DeformableAttention(12, heads=3, levels=3)
    value, query, points = torch.randn(2, CELLS, 12), torch.randn(2, 5, 12), torch.rand(5, 2)
    expected = attention(query, points[None, :, None].expand(2, 5, 3, 2), value, SHAPES)
    torch.testing.assert_close(attention(query, points, value, SHAPES), expected)
    torch.testing.assert_close(attention(query, points[None, :, None], value, SHAPES), expected)


def test_gradients() -> None:
    arguments = [x.double() for x in inputs(batch=1, queries=2, heads=2, width=2, points=2)]
    for tensor in arguments:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda value, locations, weights: deformable_sampling(value, SHAPES, locations, weights),
        arguments,
    )


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    attention = DeformableAttention(12, heads=3, levels=3)
    out = attention(torch.randn(2, 5, 12), torch.rand(5, 2), torch.randn(2, CELLS, 12), SHAPES)
    out.square().sum().backward()
    assert all(parameter.grad.any() for parameter in attention.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_keeps_positions(dtype: torch.dtype, autocast: bool) -> None:
    """The error is that of rounded values: positions in half precision would be off by far."""
    torch.manual_seed(0)
    shapes = [(4, 1000)]
    attention = DeformableAttention(8, heads=2, levels=1)
    query, value = torch.randn(1, 6, 8), torch.randn(1, 4000, 8)
    reference = torch.rand(6, 2)
    with torch.no_grad():
        expected = attention(query, reference, value, shapes)
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            if not autocast:
                attention, query, value = attention.to(dtype), query.to(dtype), value.to(dtype)
            out = attention(query, reference, value, shapes)
    assert out.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(out.float(), expected, atol=tolerance, rtol=tolerance)


def test_backends_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deformable_backend("cpu") == deformable_backend("meta") == "grid_sample"
    monkeypatch.setattr(deformable, "_triton_works", lambda device: True)
    assert deformable_backend("cuda:1") == "triton"
    with use_backend("grid_sample"):
        assert deformable_backend("cuda:1") == "grid_sample"
    monkeypatch.setattr(deformable, "_triton_works", lambda device: False)
    assert deformable_backend("cuda") == "grid_sample"


def test_a_machine_where_triton_fails_is_warned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = pytest.importorskip("videomt_bench.models.deformable_triton")

    def no_compiler(device: torch.device) -> None:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(kernel, "probe", no_compiler)
    deformable._probe_triton.cache_clear()
    try:
        with pytest.warns(UserWarning, match="grid_sample, as Triton fails on cuda:7: Failed to"):
            assert deformable_backend("cuda:7") == "grid_sample"
        assert deformable_backend("cuda:7") == "grid_sample"
    finally:
        deformable._probe_triton.cache_clear()


def test_unknown_and_unfit_backends_are_one_sentence() -> None:
    with (
        pytest.raises(BenchError, match=r"'cuda'.*valid: grid_sample, triton"),
        use_backend("cuda"),
    ):
        pass
    arguments = [x.requires_grad_() for x in inputs()]
    with (
        use_backend("triton"),
        pytest.raises(BenchError, match="'triton' of deformable attention has no gradients"),
    ):
        deformable_sampling(arguments[0], SHAPES, *arguments[1:])
    assert deformable_backend("cpu") == "grid_sample"


def test_bad_sizes_are_one_sentence() -> None:
    with pytest.raises(BenchError, match="5 heads do not divide the width 12"):
        DeformableAttention(12, heads=5, levels=1)
    attention = DeformableAttention(12, heads=3, levels=1)
    with pytest.raises(BenchError, match=r"15 values do not fill the maps \[\(4, 4\)\]"):
        attention(torch.zeros(1, 2, 12), torch.rand(2, 2), torch.zeros(1, 15, 12), [(4, 4)])


class _Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = DeformableAttention(12, heads=3, levels=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, reference_points(SHAPES, x.device), x, SHAPES)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_counted_by_tracing(device: str) -> None:
    analysis = FlopCountAnalysis(_Counted().to(device), torch.zeros(2, CELLS, 12, device=device))
    analysis.unsupported_ops_warnings(False)
    counts = analysis.by_operator()
    tokens = 2 * CELLS
    assert counts["linear"] == tokens * 12 * (3 * 3 * 4 * 3 + 2 * 12)
    # fvcore takes four multiply-accumulates per sample and channel
    assert counts["grid_sampler"] == 4 * tokens * 12 * 3 * 4
    from videomt_bench.cost.operators import is_negligible

    assert [op for op in analysis.unsupported_ops() if not is_negligible(op)] == []


def test_compiles_as_one_graph() -> None:
    model = _Counted().eval()
    x = torch.randn(2, CELLS, 12)
    with torch.no_grad():
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), model(x), atol=1e-6, rtol=0)


def test_the_choice_is_a_constant_of_a_compiled_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deformable, "_probe_triton", lambda device: device.type == "cpu")

    def choose(x: Tensor) -> Tensor:
        return x + 1 if deformable._triton_works(x.device) else x - 1

    compiled = torch.compile(choose, backend="eager", fullgraph=True)
    assert compiled(torch.zeros(1)).item() == 1


needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

INTERPRETED = """
import torch
from test_deformable import SHAPES, inputs
from videomt_bench.models.deformable import deformable_sampling, use_backend

value, locations, weights = inputs(batch=1, queries=17, heads=2, width=5, points=2)
cases = [(SHAPES, value, locations, weights)]
# one level: the kernel writes the values' own type
cases.append((SHAPES[:1], value[:, :15], locations[:, :, :, :1], weights[:, :, :, :1]))
tolerances = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
for shapes, value, locations, weights in cases:
    expected = deformable_sampling(value, shapes, locations, weights)
    for dtype, tolerance in tolerances.items():
        with use_backend("triton"), torch.no_grad():
            out = deformable_sampling(value.to(dtype), shapes, locations, weights)
        assert out.dtype == dtype
        torch.testing.assert_close(out.float(), expected, atol=tolerance, rtol=tolerance)
        print((out.float() - expected).abs().max().item())

def sample(value):
    return deformable_sampling(value, shapes, locations, weights) + 1

with use_backend("triton"), torch.no_grad():
    out = torch.compile(sample, backend="aot_eager", fullgraph=True)(value)
torch.testing.assert_close(out, expected + 1, atol=1e-5, rtol=0)
torch.library.opcheck(
    torch.ops.videomt_bench.deformable_sampling.default, (value, [3, 5], locations, weights)
)
"""


@needs_triton
def test_the_kernel_interpreted_on_a_cpu() -> None:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ, TRITON_INTERPRET="1", PYTHONPATH=os.pathsep.join(paths))
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@needs_triton
@pytest.mark.parametrize(("read", "written"), [("fp16", "fp16"), ("bf16", "fp32")])
def test_the_kernel_builds_for_a_gpu(read: str, written: str) -> None:
    """Down to machine code of an H100, which takes no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as build

    from videomt_bench.models.deformable_triton import _level_kernel

    types = dict(value=f"*{read}", locations="*fp32", weights="*fp32", out=f"*{written}")
    constants = dict(heads=16, width=64, levels=1, points=4, block=16, block_width=64, first=False)
    signature = {name: types.get(name, "i32") for name in _level_kernel.arg_names}
    signature |= dict.fromkeys(constants, "constexpr")
    built = build(ASTSource(_level_kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    assert len(built.asm["cubin"]) > 1000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_the_kernel_on_a_gpu(compiled: bool) -> None:
    value, locations, weights = (x.cuda() for x in inputs(queries=500, width=64))
    assert deformable_backend(value.device) == "triton"

    def sample(value: Tensor) -> Tensor:
        return deformable_sampling(value, SHAPES, locations, weights)

    with use_backend("grid_sample"):
        expected = sample(value)
    run = torch.compile(sample, fullgraph=True) if compiled else sample
    with torch.no_grad():
        torch.testing.assert_close(run(value), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(run(value.half()).float(), expected, atol=4e-3, rtol=4e-3)
