"""The ViT-Adapter: published sizes and costs, timm's features, a plain restatement, freezing."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.nn.functional import batch_norm, gelu, interpolate, layer_norm, linear, pad
from torch.utils.flop_counter import FlopCounterMode

from videomt_bench.cost.attention import unfused_attention
from videomt_bench.cost.operators import HANDLERS, is_negligible
from videomt_bench.cost.shapes import on_meta, shapes_only
from videomt_bench.errors import BenchError
from videomt_bench.models import DecoderSizes, EncoderSpec, build_encoder
from videomt_bench.models.adapter import ConvFFN, Extractor, ViTAdapter
from videomt_bench.models.deformable import reference_points

TINY = EncoderSpec("vit_tiny_conv_patch8", image_size=48, patch_size=8)
SIZES = {"small": 384, "base": 768, "large": 1024}


def published(size: str) -> ViTAdapter:
    """The adapter of CAVIS around a ViT of this size, without values."""
    with torch.device("meta"):
        return ViTAdapter(build_encoder(EncoderSpec(f"vit_{size}_patch14_dinov2", 592)))


def tiny(frozen: bool = False) -> ViTAdapter:
    """A small adapter whose every parameter has an effect."""
    torch.manual_seed(0)
    adapter = ViTAdapter(build_encoder(TINY), prior=16, frozen=frozen)
    for parameter in adapter.parameters():
        # much is zero or one at first, which would hide an error
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    for norm in adapter.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return adapter


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_published_backbone() -> None:
    adapter = published("large")
    assert count(adapter) / 1e6 == pytest.approx(327.50, abs=0.01)
    assert count(adapter.encoder) / 1e6 == pytest.approx(304.55, abs=0.01)
    assert count(adapter.prior) / 1e6 == pytest.approx(1.76, abs=0.005)
    assert count(adapter.extractors) / 1e6 == pytest.approx(16.98, abs=0.005)
    assert count(adapter.up) / 1e6 == pytest.approx(4.20, abs=0.005)
    assert count(adapter.norms) == 8192
    assert (count(adapter) - count(adapter.encoder)) / 1e6 == pytest.approx(22.95, abs=0.005)
    # a published checkpoint also holds a final norm and a mask token, which nothing reads
    assert count(adapter) == 327_501_760 - 2 * 1024 - 1024
    assert count(published("base")) / 1e6 == pytest.approx(100.23, abs=0.01)


@pytest.mark.parametrize("size", SIZES)
def test_maps_at_the_published_size(size: str) -> None:
    maps = published(size)(torch.empty(2, 3, 448, 800, device="meta"))
    grids = [(112, 200), (56, 100), (28, 50), (14, 25)]
    assert [tuple(x.shape) for x in maps] == [(2, SIZES[size], *grid) for grid in grids]


@pytest.mark.parametrize(
    ("size", "height", "width", "blocks", "total"),
    [
        ("large", 448, 800, 519.6, 641.5),
        ("large", 736, 1280, 1777.6, 2098.3),
        ("base", 448, 800, 155.2, 227.9),
        ("small", 448, 800, 47.8, 72.6),
    ],
)
def test_cost_is_that_of_the_published_backbone(
    size: str, height: int, width: int, blocks: float, total: float
) -> None:
    """10⁹ multiply-accumulates of products and convolutions, of the ViT's blocks and of all."""
    adapter = published(size)
    frame = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), unfused_attention(adapter), FlopCounterMode(display=False) as counter:
        adapter(frame)
    counts = counter.get_flop_counts()
    assert sum(counts["Global"].values()) / 2e9 == pytest.approx(total, rel=1e-3)
    in_blocks = sum(
        sum(counts[f"ViTAdapter.encoder.vit.blocks.{i}"].values())
        for i in range(len(adapter.encoder.vit.blocks))
    )
    assert in_blocks / 2e9 == pytest.approx(blocks, rel=1e-3)


def test_counted_by_tracing_shapes() -> None:
    """fvcore sees every operator that matters, and tells the ViT from the rest by its path."""
    adapter = on_meta(ViTAdapter(build_encoder(TINY), prior=16)).eval()
    with torch.no_grad(), shapes_only(), unfused_attention(adapter):
        analysis = FlopCountAnalysis(adapter, torch.empty(1, 3, 48, 48)).set_op_handle(**HANDLERS)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_module = analysis.tracer_warnings("none").by_module()
        unknown = [op for op in analysis.unsupported_ops() if not is_negligible(op)]
    assert unknown == []
    # linear layers and the two products of attention, for 36 tokens
    products = 6 * 36 * 96 * (12 * 96 + 2 * 36)
    assert by_module["encoder.vit.blocks"] == pytest.approx(products, rel=0.02)
    assert by_module["encoder"] < 0.8 * by_module[""]


@pytest.mark.parametrize(
    ("patch", "side", "grids"),
    [
        (8, 48, (12, 6, 3, 2)),
        (8, 8, (2, 1, 1, 1)),
        (16, 16, (4, 2, 1, 1)),
        (16, 80, (20, 10, 5, 3)),
        # stride 4 with 11 cells, beside twice the 6 of stride 8
        (14, 42, (11, 6, 3, 2)),
    ],
)
def test_maps_of_sides_that_are_no_multiples_of_32(
    patch: int, side: int, grids: tuple[int, ...]
) -> None:
    name = TINY.name if patch == 8 else "vit_tiny_patch16_224"
    spec = EncoderSpec(name, image_size=2 * patch, patch_size=patch)
    adapter = ViTAdapter(build_encoder(spec), prior=8).eval()
    with torch.no_grad():
        maps = adapter(torch.randn(1, 3, side, 2 * patch * (side // patch)))
    assert tuple(x.shape[2] for x in maps) == grids
    assert all(x.isfinite().all() for x in maps)


@pytest.mark.parametrize("depth", [4, 5, 6, 12, 24, 40])
def test_groups_are_as_equal_as_possible(depth: int) -> None:
    encoder = build_encoder(TINY)
    encoder.vit.blocks = nn.Sequential(*(encoder.vit.blocks[0] for _ in range(depth)))
    ends = ViTAdapter(encoder, prior=8).group_ends
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert sum(sizes) == depth
    assert max(sizes) - min(sizes) == (depth % 4 > 0)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_the_vit_is_that_of_timm(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSpec(name, image_size=64)).eval()
    for parameter in encoder.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    frames = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = encoder.vit.forward_intermediates(
            frames, [2, 5, 8, 11], output_fmt="NLC", intermediates_only=True
        )
        groups = ViTAdapter(encoder, prior=8).eval().vit_features(frames)
    assert groups[0].shape == (2, 24, 384)
    for ours, theirs in zip(groups, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def bilinear(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values (rows, columns, C) at fractional cells x and y (...): a dense sum of hat functions."""
    rows, columns = values.shape[:2]
    across = (1 - (x[..., None] - torch.arange(columns)).abs()).clamp(min=0)
    down = (1 - (y[..., None] - torch.arange(rows)).abs()).clamp(min=0)
    return torch.einsum("...r,...c,rcd->...d", down, across, values)


def plain_attention(extractor: Extractor, cells: Tensor, centres: Tensor, grid: Tensor) -> Tensor:
    """Deformable attention of cells (S, D) at ``centres`` to a grid (rows, columns, D)."""
    layers, dim = extractor.attention, cells.shape[1]
    rows, columns = grid.shape[:2]
    heads, points = layers.heads, layers.points
    values = linear(grid, layers.value_proj.weight, layers.value_proj.bias)
    offsets = linear(cells, layers.sampling_offsets.weight, layers.sampling_offsets.bias)
    scores = linear(cells, layers.attention_weights.weight, layers.attention_weights.bias)
    sums = []
    for head in range(heads):
        own = values[..., head * dim // heads : (head + 1) * dim // heads]
        share = scores[:, head * points : (head + 1) * points].exp()
        total = torch.zeros(len(cells), dim // heads)
        for point in range(points):
            dx, dy = offsets[:, 2 * (head * points + point) :][:, :2].unbind(1)
            x, y = centres[:, 0] * columns - 0.5 + dx, centres[:, 1] * rows - 0.5 + dy
            total += share[:, point, None] / share.sum(1, keepdim=True) * bilinear(own, x, y)
        sums.append(total)
    return linear(torch.cat(sums, 1), layers.output_proj.weight, layers.output_proj.bias)


def plain_ffn(ffn: ConvFFN, cells: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """The feed-forward network of cells (S, D), its convolution as nine shifted copies."""
    hidden = linear(cells, ffn.fc1.weight, ffn.fc1.bias)
    out, start = [], 0
    for rows, columns in shapes:
        padded = pad(
            hidden[start : start + rows * columns].view(rows, columns, -1), (0, 0, 1, 1, 1, 1)
        )
        total = ffn.depthwise.bias.expand(rows, columns, -1).clone()
        for i in range(3):
            for j in range(3):
                window = padded[i : i + rows, j : j + columns]
                total += window * ffn.depthwise.weight[:, 0, i, j]
        out.append(total.flatten(0, 1))
        start += rows * columns
    return linear(gelu(torch.cat(out)), ffn.fc2.weight, ffn.fc2.bias)


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return layer_norm(x, x.shape[-1:], norm.weight, norm.bias, eps=1e-6)


def test_an_extractor_restated() -> None:
    torch.manual_seed(0)
    extractor = Extractor(12, heads=3, points=4)
    for parameter in extractor.parameters():
        nn.init.normal_(parameter, std=0.3)
    shapes, grid = [(6, 8), (3, 4), (2, 2)], (3, 4)
    cells, tokens = torch.randn(1, 64, 12), torch.randn(1, 12, 12)
    centres = torch.tensor(
        [((j + 0.5) / w, (i + 0.5) / h) for h, w in shapes for i in range(h) for j in range(w)]
    )
    with torch.no_grad():
        out = extractor(cells, reference_points(shapes, "cpu"), shapes, tokens, grid)
        queries = normed(cells[0], extractor.query_norm)
        features = normed(tokens[0], extractor.feature_norm).view(*grid, 12)
        expected = cells[0] + plain_attention(extractor, queries, centres, features)
        expected = expected + plain_ffn(extractor.ffn, normed(expected, extractor.ffn_norm), shapes)
    torch.testing.assert_close(out[0], expected, atol=1e-5, rtol=0)


def test_what_extractors_read() -> None:
    """Cells in row order with the embedding of their level, centres, and each group's tokens."""
    adapter = tiny().eval()
    calls: list[tuple[Tensor, ...]] = []
    for extractor in adapter.extractors:
        extractor.register_forward_pre_hook(lambda _, arguments: calls.append(arguments))
    frames = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        adapter(frames)
        _, c2, c3, c4 = adapter.prior(frames)
        groups = adapter.vit_features(frames)
    cells, reference, shapes, _, grid = calls[0]
    assert (shapes, grid) == ([(8, 12), (4, 6), (2, 3)], (8, 12))
    for index, level, source, row, column in [
        (17, 0, c2, 1, 5),
        (96 + 9, 1, c3, 1, 3),
        (-1, 2, c4, 1, 2),
    ]:
        expected = source[0, :, row, column] + adapter.level_embed[level]
        torch.testing.assert_close(cells[0, index], expected)
        centre = [(column + 0.5) / source.shape[3], (row + 0.5) / source.shape[2]]
        torch.testing.assert_close(reference[index], torch.tensor(centre))
    for arguments, tokens in zip(calls, [*groups, groups[-1], groups[-1]], strict=True):
        assert torch.equal(arguments[3], tokens)


def test_maps_are_put_together_as_published() -> None:
    """c1 + up(c2), plus the ViT's features ×4, ×2, ×1 and ×0.5 at patch 16, then the norms."""
    torch.manual_seed(0)
    spec = EncoderSpec("vit_tiny_patch16_224", image_size=64)
    adapter = ViTAdapter(build_encoder(spec), prior=8).eval()
    for norm in adapter.norms:
        nn.init.normal_(norm.running_mean)
    kept: dict[str, Tensor] = {}
    adapter.prior.register_forward_hook(lambda *call: kept.update(c1=call[2][0]))
    adapter.extractors[5].register_forward_hook(lambda *call: kept.update(cells=call[2]))
    frames = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = adapter(frames)
        cells = kept["cells"].transpose(1, 2)
        c2, c3, c4 = cells[:, :, :96], cells[:, :, 96:120], cells[:, :, 120:]
        c2, c3, c4 = c2.view(2, -1, 8, 12), c3.view(2, -1, 4, 6), c4.view(2, -1, 2, 3)
        features = adapter.encoder.vit.forward_intermediates(
            adapter.encoder.renormalize(frames), [2, 5, 8, 11], intermediates_only=True
        )
        sums = [kept["c1"] + adapter.up(c2), c2, c3, c4]
        for ours, c, x, scale, norm in zip(
            maps, sums, features, (4, 2, 1, 0.5), adapter.norms, strict=True
        ):
            x = interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            expected = batch_norm(c + x, norm.running_mean, norm.running_var)
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_initial_values() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(TINY)
    before = deepcopy(encoder.vit.blocks.state_dict())
    adapter = ViTAdapter(encoder, prior=64)
    for name, value in adapter.encoder.vit.blocks.state_dict().items():
        assert torch.equal(value, before[name])
    assert adapter.level_embed.std().item() == pytest.approx(1, abs=0.2)
    ffn = adapter.extractors[0].ffn
    assert ffn.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert ffn.depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.2)
    conv = adapter.prior.conv3[0]
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.05)
    assert adapter.up.weight.std().item() == pytest.approx((2 / (4 * 96)) ** 0.5, rel=0.05)
    attention = adapter.extractors[5].attention
    assert not attention.sampling_offsets.weight.any()
    assert attention.sampling_offsets.bias.view(4, 4, 2)[0].tolist() == [
        [i, 0] for i in (1, 2, 3, 4)
    ]
    assert attention.value_proj.weight.abs().max() > 0.9 * (6 / 192) ** 0.5


def test_a_frame_does_not_see_its_batch() -> None:
    adapter = tiny().eval()
    frames = torch.randn(3, 3, 48, 48)
    with torch.no_grad():
        together = adapter(frames)
        alone = adapter(frames[1:2])
    # values reach 27, so this is rounding
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, atol=1e-4, rtol=0)


def test_every_parameter_learns() -> None:
    adapter = tiny()
    sum(x.square().sum() for x in adapter(torch.randn(2, 3, 48, 48))).backward()
    idle = [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_a_frozen_vit_stays_as_it_is() -> None:
    adapter = tiny(frozen=True)
    adapter.encoder.vit.blocks[2].drop_path1 = nn.Dropout(0.5)
    adapter.train()
    assert not any(module.training for module in adapter.encoder.modules())
    assert adapter.prior.training
    assert not any(p.requires_grad for p in adapter.encoder.parameters())
    frames = torch.randn(2, 3, 48, 48)
    assert torch.equal(adapter.vit_features(frames)[3], adapter.vit_features(frames)[3])
    sum(x.square().sum() for x in adapter(frames)).backward()
    assert all(p.grad is None for p in adapter.encoder.parameters())
    learned = [p for n, p in adapter.named_parameters() if not n.startswith("encoder.")]
    assert all(p.grad is not None for p in learned)


def test_no_graph_is_kept_of_a_frozen_vit() -> None:
    """Also where its input has a gradient."""
    adapter = tiny(frozen=True)
    calls: list[Tensor] = []
    adapter.encoder.vit.blocks[5].register_forward_hook(lambda *call: calls.append(call[2]))
    adapter(torch.randn(1, 3, 48, 48, requires_grad=True))
    assert not calls[0].requires_grad


def test_convolutions_stay_in_their_map() -> None:
    ffn = ConvFFN(8)
    shapes = [(4, 6), (2, 3), (1, 2)]
    cells = torch.randn(1, 32, 8)
    changed = cells.clone()
    changed[0, 24] += 1
    with torch.no_grad():
        difference = (ffn(changed, shapes) - ffn(cells, shapes)).abs().sum(-1)[0]
    # the first cell of the second map, its neighbours on the right and below; no cell beside it
    # in the sequence
    assert difference.nonzero().flatten().tolist() == [24, 25, 27, 28]


def test_sizes_of_the_small_setting() -> None:
    prior = ViTAdapter(build_encoder(TINY), prior=16).prior
    widths = [m.out_channels for m in prior.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [16, 16, 16, 32, 64, 64, *[96] * 4]
    assert DecoderSizes().prior == 64


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(BenchError, match=r"50x48 is not valid.*multiples of the patch size 8"):
        ViTAdapter(build_encoder(TINY), prior=8)(torch.zeros(1, 3, 50, 48))
    encoder = build_encoder(TINY)
    encoder.vit.blocks = encoder.vit.blocks[:3]
    with pytest.raises(BenchError, match="3 blocks is too shallow for the ViT-Adapter; valid: 4"):
        ViTAdapter(encoder)
