"""The temporal refiner against a plain restatement, its sizes, and the offline form of a model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, layer_norm, linear, relu
from torch.utils.flop_counter import FlopCounterMode

from videomt_bench.errors import BenchError
from videomt_bench.models import (
    DecoderSizes,
    OfflineVideo,
    QueryIndex,
    SlotSizes,
    TemporalRefiner,
    Variant,
    load_variant,
    load_variants,
)
from videomt_bench.models.conformance import SPEC
from videomt_bench.models.contracts import ClipOutput
from videomt_bench.models.refiner import COUNTED_FRAMES

B, T, Q, N, D, CLASSES = 2, 4, 3, 5, 16, 3
SMALL = DecoderSizes(dim=D, heads=4, ffn=24, tracker_layers=3)
OFFLINE = ["dvis_offline", "dvis_plus_offline", "cavis_offline"]


def refiner(short_term: bool = True, widening: int = 1) -> TemporalRefiner:
    """A small one whose biases and norms are not at their initial values."""
    torch.manual_seed(0)
    sizes = SlotSizes(Q, D, CLASSES, SMALL)
    model = TemporalRefiner(sizes, short_term=short_term, widening=widening)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def inputs(width: int = D, frames: int = T) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = (B, frames, Q, width), (B, frames, N, width)
    tracks, memory = (torch.randn(*shape, generator=generator) for shape in shapes)
    return tracks, memory


class Plain:
    """2.4 for one video, track by track and frame by frame."""

    def __init__(self, model: TemporalRefiner, short_term: bool) -> None:
        self.weights = {k: v.detach() for k, v in model.state_dict().items()}
        self.short_term = short_term

    def linear(self, x: Tensor, name: str) -> Tensor:
        return linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return layer_norm(x, [x.shape[-1]], weight, bias)

    def attend(self, x: Tensor, key: Tensor, name: str) -> Tensor:
        weights = self.weights[f"{name}.in_proj_weight"].chunk(3)
        biases = self.weights[f"{name}.in_proj_bias"].chunk(3)
        pairs = zip((x, key, key), weights, biases, strict=True)
        q, k, v = (linear(y, w, b) for y, w, b in pairs)
        width = x.shape[-1] // SMALL.heads
        heads = []
        for h in range(SMALL.heads):
            part = slice(h * width, (h + 1) * width)
            heads.append(torch.softmax(q[:, part] @ k[:, part].T / width**0.5, -1) @ v[:, part])
        return self.linear(torch.cat(heads, -1), f"{name}.out_proj")

    def conv(self, x: Tensor, name: str, side: int) -> Tensor:
        """(T, d), the first and the last frame repeated beyond the ends."""
        padded = torch.cat([x[:1]] * (side // 2) + [x] + [x[-1:]] * (side // 2))
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return conv1d(padded.T[None], weight, bias)[0].T

    def layer(self, x: Tensor, memory: Tensor, i: int) -> Tensor:
        at = f"layers.{i}"
        tracks = []
        for q in range(x.shape[1]):
            y = x[:, q]
            y = self.norm(y + self.attend(y, y, f"{at}.time_attention"), f"{at}.time_norm")
            if self.short_term:
                short = self.conv(relu(self.conv(y, f"{at}.conv.0", 5)), f"{at}.conv.2", 3)
                y = self.norm(y + short, f"{at}.conv_norm")
            tracks.append(y)
        frames = []
        for t, y in enumerate(torch.stack(tracks, 1)):
            y = self.norm(y + self.attend(y, y, f"{at}.self_attention"), f"{at}.self_norm")
            found = self.attend(y, memory[t], f"{at}.cross_attention")
            y = self.norm(y + found, f"{at}.cross_norm")
            hidden = self.linear(relu(self.linear(y, f"{at}.linear1")), f"{at}.linear2")
            frames.append(self.norm(y + hidden, f"{at}.ffn_norm"))
        return torch.stack(frames)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n = self.norm(x, "heads.norm")
        weights = torch.softmax(self.linear(n, "activation_proj"), 0)
        classes = self.linear((weights * n).sum(0), "heads.class_embed")
        for i in range(3):
            n = self.linear(n, f"heads.mask_embed.layers.{i}")
            n = relu(n) if i < 2 else n
        return classes, n


@pytest.mark.parametrize(("short_term", "widening"), [(True, 1), (False, 1), (True, 2)])
@torch.no_grad()
def test_all_layers_as_restated(short_term: bool, widening: int) -> None:
    model = refiner(short_term, widening).train()
    tracks, memory = inputs(widening * D)
    layers = model(tracks, memory)
    assert len(layers) == SMALL.tracker_layers
    plain = Plain(model, short_term)
    for b in range(B):
        x = tracks[b]
        for i, found in enumerate(layers):
            x = plain.layer(x, memory[b], i)
            classes, embeddings = plain.predict(x)
            torch.testing.assert_close(found.class_logits[b], classes, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found.mask_embeddings[b], embeddings, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_evaluation_gives_the_last_layer_alone() -> None:
    model = refiner()
    *_, last = model.train()(*inputs())
    (only,) = model.eval()(*inputs())
    torch.testing.assert_close(only.class_logits, last.class_logits)
    torch.testing.assert_close(only.mask_embeddings, last.mask_embeddings)


@pytest.mark.parametrize("short_term", [True, False])
@torch.no_grad()
def test_the_convolution_alone_knows_the_order_of_frames(short_term: bool) -> None:
    model, (tracks, memory) = refiner(short_term).eval(), inputs()
    order = torch.tensor([2, 0, 3, 1])
    straight, shuffled = model(tracks, memory)[0], model(tracks[:, order], memory[:, order])[0]
    same = torch.allclose(straight.class_logits, shuffled.class_logits, atol=1e-5)
    assert same != short_term


@torch.no_grad()
def test_a_video_of_one_frame() -> None:
    (found,) = refiner().eval()(*inputs(frames=1))
    assert found.class_logits.shape == (B, Q, CLASSES + 1)
    assert found.mask_embeddings.shape == (B, 1, Q, D)


@pytest.mark.parametrize(
    ("options", "millions"),
    [(dict(widening=2), 44.81), (dict(short_term=False), 11.26)],
    ids=["DVIS++", "DVIS-DAQ without the convolution"],
)
def test_the_published_number_of_parameters(options: dict[str, int], millions: float) -> None:
    with torch.device("meta"):
        model = TemporalRefiner(SlotSizes(200, 256, 40), **options)  # type: ignore[arg-type]
    count = sum(p.numel() for p in model.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.005)
    dim = model.dim
    assert tuple(model.layers[0].time_attention.in_proj_weight.shape) == (3 * dim, dim)  # type: ignore[union-attr]
    assert tuple(model.activation_proj.weight.shape) == (1, dim)
    assert tuple(model.heads.class_embed.weight.shape) == (41, dim)
    if "widening" in options:
        conv = model.layers[0].conv
        assert isinstance(conv, nn.Sequential)
        assert tuple(conv[0].weight.shape) == (512, 512, 5)
        assert tuple(conv[2].weight.shape) == (512, 512, 3)


@pytest.mark.parametrize("length", [1, COUNTED_FRAMES, 40])
@pytest.mark.parametrize("short_term", [True, False])
def test_the_declared_cost_is_what_a_counter_sees(short_term: bool, length: int) -> None:
    """Of a frame; classes, which come once for a video, are left out."""
    count = 7
    sizes = SlotSizes(count, D, CLASSES, SMALL)
    with torch.device("meta"):
        model = TemporalRefiner(sizes, short_term=short_term).eval()
        x = torch.empty(1, length, count, D)
        counter = FlopCounterMode(display=False)
        with (
            counter,
            torch.no_grad(),
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            model(x, x)
    classes = count * D * (CLASSES + 1)
    weights = length * count * D
    seen = counter.get_total_flops() / 2 - classes - weights
    assert model.cost(length).macs == pytest.approx(seen / length, rel=1e-9)
    assert (model.cost() == model.cost(length)) == (length == COUNTED_FRAMES)


# The offline form of a model


def clip(length: int = 4) -> Tensor:
    return torch.randn(2, length, 3, 48, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", OFFLINE)
@torch.no_grad()
def test_a_clip_is_tracked_then_refined(name: str) -> None:
    torch.manual_seed(0)
    model = load_variant(name).build(SPEC).eval()
    online, _ = model(clip())
    refined, _ = OfflineVideo(model)(clip())
    assert model.refiner is not None
    (expected,) = model.refiner(*model.tracker.to_refine(online))
    assert online.mask_features is not None
    masks = torch.einsum("btqm,btmhw->btqhw", expected.mask_embeddings, online.mask_features)
    torch.testing.assert_close(refined.mask_logits, masks, atol=1e-5, rtol=1e-5)
    for t in range(4):
        torch.testing.assert_close(refined.class_logits[:, t], expected.class_logits)
    assert refined.source is not None
    torch.testing.assert_close(refined.source.class_logits, online.class_logits)
    assert (refined.class_logits != online.class_logits).any()


@torch.no_grad()
def test_what_the_refiner_of_dvis_plus_reads() -> None:
    """Tracks before their norm, and un-normalised queries beside their identities (2.4)."""
    model = load_variant("dvis_plus_offline").build(SPEC).eval()
    output, _ = model(clip())
    tracks, memory = model.tracker.to_refine(output)
    assert tracks is output.queries
    assert (tracks != output.embeddings).any()
    features = model.encode(clip()[:, 0])
    first = model.segmenter.decode(features, model.memory.queries(model.init_state(2).memory))
    assert output.identity is not None
    both = torch.cat([first.queries, output.identity[:, 0]], -1)
    torch.testing.assert_close(memory[:, 0], both, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_the_refiner_of_dvis_reads() -> None:
    """Normalised tracks, and queries as the tracker makes them of a first frame: each frame's are
    what a new stream would give for it."""
    model = load_variant("dvis_offline").build(SPEC).eval()
    output, _ = model(clip())
    tracks, memory = model.tracker.to_refine(output)
    assert tracks is output.embeddings
    for t in range(4):
        alone, _ = model.step(clip()[:, t], model.init_state(2))
        torch.testing.assert_close(memory[:, t], alone.embeddings, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_the_refiner_of_cavis_reads() -> None:
    """Normalised tracks, and queries of the segmenter before its norm, without identities (2.4)."""
    model = load_variant("cavis_offline").build(SPEC).eval()
    for heads in (model.tracker.heads, model.segmenter.decoder.heads):
        for parameter in heads.norm.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    output, _ = model(clip())
    tracks, memory = model.tracker.to_refine(output)
    norm = model.tracker.heads.norm
    expected = layer_norm(output.queries, norm.normalized_shape, norm.weight, norm.bias)
    torch.testing.assert_close(tracks, expected, atol=1e-5, rtol=1e-5)
    for t in range(4):
        features = model.encode(clip()[:, t])
        alone = model.segmenter.decode(features, model.memory.queries(model.init_state(2).memory))
        torch.testing.assert_close(memory[:, t], alone.queries, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("step0_cavis", [2, 0, 1, 3, 4, 5]),
        ("cavis_offline", [2, 0, 1, 3, 4, 5]),
        ("cavis_public_code", [1, 2, 0, 3, 4, 5]),
        ("cavis_offline_public_code", [1, 2, 0, 3, 4, 5]),
    ],
)
@torch.no_grad()
def test_the_public_code_of_cavis_has_the_inverse_of_each_permutation(
    name: str, expected: list[int]
) -> None:
    """Queries 1, 2, 0 of a frame come as 0, 1, 2 in the next: 0 continues as 2, 1 as 0, 2 as 1."""
    torch.manual_seed(0)
    model = load_variant(name).build(SPEC).eval()
    features = model.encode(clip()[:, 0])
    output, _ = model.segment(features, model.init_state(2).memory)
    _, state = model.tracker.track(output, features, model.tracker.init_state(2))
    turned = output.reorder(torch.tensor([1, 2, 0, 3, 4, 5]).expand(2, -1))
    found, _ = model.tracker.track(turned, features, state)
    assert found.order is not None
    assert found.order.tolist() == [expected] * 2


def test_what_cannot_be_offline_is_refused() -> None:
    model = load_variant("dvis_plus").build(SPEC)
    with pytest.raises(BenchError, match="without a refiner cannot work offline"):
        OfflineVideo(model)
    offline = OfflineVideo(load_variant("dvis_plus_offline").build(SPEC))
    with pytest.raises(BenchError, match="takes whole clips"):
        offline.step(clip()[:, 0], offline.init_state(2))
    nothing = torch.zeros(1, 1, 1, 1)
    with pytest.raises(BenchError, match="a refiner cannot follow QueryIndex"):
        QueryIndex().to_refine(ClipOutput(nothing, nothing, nothing, nothing))


@pytest.mark.parametrize("variant", [v for v in load_variants() if v.online], ids=lambda v: v.name)
def test_the_online_model_is_the_same(variant: Variant) -> None:
    """Under the same names and with the same training, so that the refiner is added to it."""
    online, offline = (v.build(SPEC) for v in (load_variant(variant.online), variant))
    own = {k for k in offline.state_dict() if not k.startswith("refiner.")}
    assert own == set(online.state_dict())
    alone, trained = replace(variant, refiner=None, online=""), load_variant(variant.online)
    assert alone.slots() == trained.slots()
    for name in ("matching", "frozen", "joint_stage"):
        assert getattr(alone, name) == getattr(trained, name)
