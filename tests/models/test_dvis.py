"""The trackers of DVIS and DVIS++ against a plain restatement of their frames, and their orders."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    cosine_similarity,
    layer_norm,
    linear,
    relu,
    scaled_dot_product_attention,
)

from videomt_bench.models import (
    DecoderSizes,
    DvisPlusTracker,
    DvisTracker,
    FrameFeatures,
    FrameOutput,
    SlotSizes,
)
from videomt_bench.models.cavis import AppearanceTracker

Q, D, CLASSES, BATCH = 5, 16, 3, 2
SMALL = DecoderSizes(dim=D, heads=4, ffn=24, tracker_layers=3)
NOTHING = FrameFeatures({}, (32, 40))
CASES = [(DvisTracker, D), (DvisTracker, 24), (DvisPlusTracker, D), (DvisPlusTracker, 24)]


def frames(count: int, dim: int = D, seed: int = 0) -> list[FrameOutput]:
    """Segmenter outputs of frames whose objects drift and come in another order each time."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    objects, outputs = randn(BATCH, Q, dim), []
    scale, shift = randn(dim), randn(dim)
    for _ in range(count):
        objects = (objects + 0.3 * randn(BATCH, Q, dim))[:, torch.randperm(Q, generator=generator)]
        classes, masks = randn(BATCH, Q, CLASSES + 1), randn(BATCH, Q, 8, 10)
        norm = layer_norm(objects, [dim], scale, shift)
        features = randn(BATCH, dim, 8, 10)
        outputs.append(FrameOutput(classes, masks, objects, norm, mask_features=features))
    return outputs


def tracker(kind: type[DvisTracker], dim: int = D, **options: Any) -> DvisTracker:
    """A small one whose biases and norms are not at their initial values."""
    torch.manual_seed(0)
    model = kind(SlotSizes(Q, dim, CLASSES, SMALL), **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def run(model: Any, outputs: list[FrameOutput]) -> list[FrameOutput]:
    state, tracked = model.init_state(BATCH), []
    for output in outputs:
        result, state = model.track(output, NOTHING, state)
        tracked.append(result)
    return tracked


class Plain:
    """One stream of 2.3, written out: what lasts is an attribute, and matching tries everything."""

    def __init__(self, model: DvisTracker, plus: bool) -> None:
        self.weights = {k: v.detach() for k, v in model.state_dict().items()}
        self.plus = plus
        self.found: Tensor | None = None
        self.aligned: Tensor | None = None

    def linear(self, x: Tensor, name: str) -> Tensor:
        return linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return layer_norm(x, [x.shape[-1]], weight, bias)

    def mlp(self, x: Tensor, name: str) -> Tensor:
        for i in range(3):
            x = self.linear(x, f"{name}.layers.{i}")
            x = relu(x) if i < 2 else x
        return x

    def conv(self, x: Tensor, name: str) -> Tensor:
        kernel, bias = self.weights[f"{name}.weight"][:, :, 0, 0], self.weights[f"{name}.bias"]
        return torch.einsum("oi,ihw->ohw", kernel, x) + bias[:, None, None]

    def attend(self, query: Tensor, key: Tensor, name: str) -> Tensor:
        """Keys are the values too."""
        weights = self.weights[f"{name}.in_proj_weight"].chunk(3)
        biases = self.weights[f"{name}.in_proj_bias"].chunk(3)
        q, k, v = (
            linear(x, w, b).unflatten(-1, (SMALL.heads, -1)).transpose(0, 1)
            for x, w, b in zip((query, key, key), weights, biases, strict=True)
        )
        x = scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
        return self.linear(x, f"{name}.out_proj")

    def layer(self, residual: Tensor, query: Tensor, key: Tensor, i: int) -> Tensor:
        x = residual + self.attend(query, key, f"layers.{i}.cross_attention")
        x = self.norm(x, f"layers.{i}.cross_norm")
        x = self.norm(x + self.attend(x, x, f"layers.{i}.self_attention"), f"layers.{i}.self_norm")
        hidden = relu(self.linear(x, f"layers.{i}.linear1"))
        return self.norm(x + self.linear(hidden, f"layers.{i}.linear2"), f"layers.{i}.ffn_norm")

    def refer(self, x: Tensor) -> Tensor:
        return self.mlp(x, "ref_proj") if self.plus else x

    def heads(self, x: Tensor, reference: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.norm(x, "heads.norm")
        read = torch.cat([reference, normed], -1) if self.plus else normed
        features = self.conv(features, "mask_feature_proj") if self.plus else features
        masks = torch.einsum("qc,chw->qhw", self.mlp(normed, "heads.mask_embed"), features)
        return self.linear(read, "heads.class_embed"), masks

    def frame(self, output: FrameOutput, b: int) -> dict[str, Any]:
        q, n, features = output.queries[b], output.embeddings[b], output.mask_features
        assert features is not None
        features = features[b]
        if "query_projection.weight" in self.weights:
            q, n = (self.linear(x, "query_projection") for x in (q, n))
            features = self.conv(features, "map_projection")
        e, compared, identity = n, n, None
        if self.plus:
            identity = self.mlp(n, "appearance.reid")
            e, compared = torch.cat([q, identity], -1), torch.cat([n, identity], -1)
        pi = list(range(Q))
        if self.aligned is not None:
            cosine = cosine_similarity(self.aligned[:, None], compared[None], dim=-1)
            pi = list(
                max(
                    itertools.permutations(range(Q)),
                    key=lambda p: sum(float(cosine[i, j]) for i, j in enumerate(p)),
                )
            )
        reference = self.refer(e if self.found is None else self.found)
        layers: list[Tensor] = []
        for i in range(SMALL.tracker_layers):
            residual = layers[-1] if layers else e[pi]
            query = self.refer(layers[-1]) if self.found is None and layers else reference
            layers.append(self.layer(residual, query, e, i))
        self.found, self.aligned = layers[-1], compared[pi]
        predicted = [self.heads(x, reference, features) for x in layers]
        return {
            "class_logits": predicted[-1][0],
            "mask_logits": predicted[-1][1],
            "queries": layers[-1],
            "embeddings": self.norm(layers[-1], "heads.norm"),
            "identity": identity,
            "reference": reference if self.plus else None,
            "order": torch.tensor(pi),
            "mask_features": features,
            "layers": predicted,
        }


@pytest.mark.parametrize(("kind", "dim"), CASES)
@torch.no_grad()
def test_frames_as_restated(kind: type[DvisTracker], dim: int) -> None:
    model, outputs = tracker(kind, dim), frames(4, dim)
    found = run(model, outputs)
    assert any(x.order.tolist() != [list(range(Q))] * BATCH for x in found[1:])  # type: ignore[union-attr]
    for b in range(BATCH):
        plain = Plain(model, kind is DvisPlusTracker)
        for tracked, output in zip(found, outputs, strict=True):
            for name, expected in plain.frame(output, b).items():
                if name == "layers":
                    continue
                got = getattr(tracked, name)
                if expected is None:
                    assert got is None, name
                else:
                    torch.testing.assert_close(got[b], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [DvisTracker, DvisPlusTracker])
@torch.no_grad()
def test_every_layer_predicts_in_training(kind: type[DvisTracker]) -> None:
    options = {} if kind is DvisTracker else {"noise": "none"}
    model, outputs = tracker(kind, **options).train(), frames(2)
    plain = Plain(model, kind is DvisPlusTracker)
    for tracked, output in zip(run(model, outputs), outputs, strict=True):
        *expected, _ = plain.frame(output, 1)["layers"]
        for prediction, (classes, masks) in zip(tracked.intermediate, expected, strict=True):
            torch.testing.assert_close(prediction.class_logits[1], classes, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(prediction.mask_logits[1], masks, atol=1e-4, rtol=1e-4)
        assert tracked.source is output


@torch.no_grad()
def test_only_the_last_layer_predicts_in_evaluation() -> None:
    model, calls = tracker(DvisPlusTracker), list[int]()
    model.heads.register_forward_hook(lambda *_: calls.append(1))
    tracked = run(model, frames(3))
    assert len(calls) == 3
    assert all(x.intermediate == () and x.source is None for x in tracked)


def test_the_published_number_of_parameters() -> None:
    """DVIS++: 26.78 M without the re-ID head, which the segmenter's checkpoint has (2.7)."""
    model = DvisPlusTracker(SlotSizes(200, 256, 40))
    own = {k: p.numel() for k, p in model.named_parameters() if not k.startswith("appearance.")}
    assert sum(own.values()) / 1e6 == pytest.approx(26.78, abs=0.005)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["layers.0.cross_attention.in_proj_weight"] == (1536, 512)
    assert shapes["layers.5.linear1.weight"] == (2048, 512)
    assert shapes["heads.class_embed.weight"] == (41, 1024)
    assert shapes["heads.mask_embed.layers.2.weight"] == (256, 512)
    assert shapes["ref_proj.layers.2.weight"] == (512, 512)
    assert shapes["mask_feature_proj.weight"] == (256, 256, 1, 1)
    assert shapes["appearance.reid.layers.0.weight"] == (256, 256)


@pytest.mark.parametrize("kind", [DvisTracker, DvisPlusTracker])
@torch.no_grad()
def test_the_order_of_queries_in_a_later_frame_does_not_matter(kind: type[DvisTracker]) -> None:
    model, (first, second, third) = tracker(kind), frames(3)
    shuffle = torch.tensor([3, 1, 4, 0, 2]).expand(BATCH, -1)
    straight = run(model, [first, second, third])
    shuffled = run(model, [first, second.reorder(shuffle), third])
    for a, b in zip(straight, shuffled, strict=True):
        torch.testing.assert_close(a.class_logits, b.class_logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(a.mask_logits, b.mask_logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_identical_frames_leave_the_slots_alone() -> None:
    output = frames(1)[0]
    for tracked in run(tracker(DvisPlusTracker), [output] * 3):
        assert tracked.order is not None
        assert tracked.order.tolist() == [list(range(Q))] * BATCH


@pytest.mark.parametrize(("inverse", "expected"), [(False, [1, 2, 0]), (True, [2, 0, 1])])
@torch.no_grad()
def test_a_cycle_of_three_and_its_inverse(inverse: bool, expected: list[int]) -> None:
    """Reference r continues as current query (1, 2, 0)[r]; the public code of DVIS inverts it."""
    model = DvisTracker(SlotSizes(3, D, CLASSES, SMALL), inverse_matching=inverse).eval()
    objects = torch.randn(1, 3, D, generator=torch.Generator().manual_seed(0))
    state, classes, masks = None, torch.zeros(1, 3, 4), torch.zeros(1, 3, 8, 8)
    for order in ([0, 1, 2], [2, 0, 1]):
        queries = objects[:, order]
        output = FrameOutput(
            classes, masks, queries, queries, mask_features=torch.zeros(1, D, 8, 8)
        )
        tracked, state = model.track(output, NOTHING, state)
    assert tracked.order is not None
    assert tracked.order.tolist() == [expected]


@torch.no_grad()
def test_noise_is_for_training_and_later_frames() -> None:
    model, outputs = tracker(DvisPlusTracker, noise="rs", noise_ratio=1.0), frames(3)
    plain = [x.order for x in run(model, outputs)]
    torch.manual_seed(1)
    noisy = [x.order for x in run(model.train(), outputs)]
    assert torch.equal(noisy[0], plain[0])  # type: ignore[arg-type]
    assert not any(torch.equal(a, b) for a, b in zip(noisy[1:], plain[1:], strict=True))  # type: ignore[arg-type]


@torch.no_grad()
def test_what_a_noisy_slot_stands_for_is_aligned_to_next() -> None:
    """The stored embeddings are those of the queries that the slots started from."""
    model, outputs = tracker(DvisPlusTracker, noise="rs", noise_ratio=1.0).train(), frames(2)
    _, state = model.track(outputs[0], NOTHING, None)
    tracked, state = model.track(outputs[1], NOTHING, state)
    assert tracked.order is not None
    assert tracked.identity is not None
    both = torch.cat([outputs[1].embeddings, tracked.identity], -1)
    for b in range(BATCH):
        assert torch.equal(state.embeddings[b], both[b, tracked.order[b]])


def test_the_image_stage_shares_the_identities() -> None:
    model = tracker(DvisPlusTracker)
    stage = model.image_stage()
    assert isinstance(stage, AppearanceTracker)
    assert set(stage.state_dict()) == {k for k in model.state_dict() if k.startswith("appearance.")}
    assert tracker(DvisTracker).image_stage() is None


def test_gradients_pass_from_frame_to_frame_until_the_state_is_detached() -> None:
    model = tracker(DvisPlusTracker).train()
    first, second = frames(2)
    first.queries.requires_grad_()
    _, state = model.track(first, NOTHING, None)
    for cut in (False, True):
        tracked, _ = model.track(second, NOTHING, model.detach(state) if cut else state)
        (gradient,) = torch.autograd.grad(
            tracked.class_logits.square().sum(), first.queries, retain_graph=True, allow_unused=True
        )
        assert (gradient is None) == cut


def test_a_segmenter_with_a_reference_is_initialised_as_detectron() -> None:
    """c2-xavier: uniform within sqrt(3 / fan in), no biases (2.2, 2.3)."""
    model = DvisPlusTracker(SlotSizes(200, 256, 40))
    for mlp, width in ((model.ref_proj, 512), (model.appearance.reid, 256)):
        for layer in mlp.layers:  # type: ignore[union-attr]
            assert isinstance(layer, nn.Linear)
            bound = (3 / width) ** 0.5
            assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
            assert not layer.bias.any()
