"""CAVIS's tracker against a plain restatement of its frames, and its orders, states and stages."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from videomt_bench.errors import BenchError
from videomt_bench.models import (
    CavisTracker,
    DecoderSizes,
    FrameFeatures,
    FrameOutput,
    Prediction,
    SlotSizes,
)
from videomt_bench.models.cavis import AppearanceTracker, kept_alive
from videomt_bench.models.trackers import match_embeddings

Q, D, CLASSES, BATCH = 5, 16, 3, 2
SMALL = DecoderSizes(dim=D, heads=4, ffn=24, tracker_layers=3, context_filter=3)
NOTHING = FrameFeatures({}, (32, 40))
VARIANTS: list[dict[str, Any]] = [
    dict(context="depthwise"),
    dict(context="dense", unused_heads=True),
    dict(context="sum", inverse_matching=True),
    dict(context="none"),
    dict(context="none", reid=False),
]


def frames(count: int, dim: int = D, seed: int = 0) -> list[FrameOutput]:
    """Segmenter outputs of frames whose objects drift and come in another order each time."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    objects, outputs = randn(BATCH, Q, dim), []
    # a norm that turns queries, so that it matters which are matched
    scale, shift = randn(dim), randn(dim)
    for _ in range(count):
        objects = (objects + 0.3 * randn(BATCH, Q, dim))[:, torch.randperm(Q, generator=generator)]
        classes, masks = randn(BATCH, Q, CLASSES + 1), randn(BATCH, Q, 8, 10)
        norm = nn.functional.layer_norm(objects, [dim], scale, shift)
        features = randn(BATCH, dim, 8, 10)
        outputs.append(FrameOutput(classes, masks, objects, norm, mask_features=features))
    return outputs


def tracker(dim: int = D, **options: Any) -> CavisTracker:
    """A small one whose biases and norms are not at their initial values."""
    torch.manual_seed(0)
    model = CavisTracker(SlotSizes(Q, dim, CLASSES, SMALL), **options).eval()
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
    """One stream, written out: no batch, no state that is not an attribute, no library layer."""

    def __init__(self, model: CavisTracker, reid: bool, inverse: bool) -> None:
        self.weights = {k: v.detach() for k, v in model.state_dict().items()}
        self.model, self.reid, self.inverse = model, reid, inverse
        self.last: Tensor | None = None
        self.aligned: Tensor | None = None

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, name: str) -> Tensor:
        packed, bias = (self.weights[f"{name}.in_proj_{kind}"] for kind in ("weight", "bias"))
        q, k, v = (
            x @ packed[i * D : (i + 1) * D].T + bias[i * D : (i + 1) * D]
            for i, x in enumerate((query, key, value))
        )
        width, heads = D // SMALL.heads, []
        for h in range(SMALL.heads):
            part = slice(h * width, (h + 1) * width)
            scores = q[:, part] @ k[:, part].T / math.sqrt(width)
            heads.append(torch.softmax(scores, -1) @ v[:, part])
        return self.linear(torch.cat(heads, -1), f"{name}.out_proj")

    def find(self, reference: Tensor, current: Tensor) -> list[int]:
        """The best of all permutations, by trying them."""
        cosine = nn.functional.cosine_similarity(reference[:, None], current[None], dim=-1)
        best = max(
            itertools.permutations(range(Q)),
            key=lambda p: sum(float(cosine[i, j]) for i, j in enumerate(p)),
        )
        return [best.index(i) for i in range(Q)] if self.inverse else list(best)

    def embed(self, x: Tensor) -> Tensor:
        return self.linear(x, "ctx_query_embed") if self.reid else x

    def with_identity(self, x: Tensor, identity: Tensor | None) -> Tensor:
        return x if identity is None else torch.cat([x, identity], -1)

    def heads(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = self.norm(x, "heads.norm")
        mask = n
        for i in range(3):
            mask = self.linear(mask, f"heads.mask_embed.layers.{i}")
            mask = mask.clamp(min=0) if i < 2 else mask
        logits = (mask @ features.flatten(1)).view(Q, *features.shape[1:])
        return self.linear(n, "heads.class_embed"), logits, n

    def frame(self, output: FrameOutput, b: int) -> dict[str, Any]:
        s, n = output.queries[b], output.embeddings[b]
        assert output.mask_features is not None
        features = output.mask_features[b]
        if "query_projection.weight" in self.weights:
            s, n = (self.linear(x, "query_projection") for x in (s, n))
            kernel = self.weights["map_projection.weight"][:, :, 0, 0]
            features = torch.einsum("oi,ihw->ohw", kernel, features)
            features = features + self.weights["map_projection.bias"][:, None, None]
        r = None
        if self.model.appearance is not None:
            r = self.model.appearance(n[None], output.mask_logits[b][None], features[None])[0]
        u = self.with_identity(n, r)
        first = self.last is None
        pi = list(range(Q)) if self.aligned is None else self.find(self.aligned, u)
        reference = self.embed(u if self.last is None else self.last)
        layers: list[Tensor] = []
        for i in range(SMALL.tracker_layers):
            query = reference
            if first and i > 0:
                query = self.embed(self.with_identity(layers[-1], r))
            x = layers[-1] if layers else n[pi]
            x = x + self.attend(query, self.embed(u), s, f"layers.{i}.cross_attention")
            x = self.norm(x, f"layers.{i}.cross_norm")
            x = x + self.attend(x, x, x, f"layers.{i}.self_attention")
            x = self.norm(x, f"layers.{i}.self_norm")
            hidden = self.linear(x, f"layers.{i}.linear1").clamp(min=0)
            layers.append(
                self.norm(x + self.linear(hidden, f"layers.{i}.linear2"), f"layers.{i}.ffn_norm")
            )
        self.aligned = u[pi]
        self.last = layers[-1]
        if r is not None:
            self.last = torch.cat([layers[-1], r[self.find(layers[-1], s)]], -1)
        classes, masks, embeddings = self.heads(layers[-1], features)
        return dict(
            class_logits=classes,
            mask_logits=masks,
            queries=layers[-1],
            embeddings=embeddings,
            mask_features=features,
            identity=r,
            reference=reference,
            order=torch.tensor(pi),
            layers=[self.heads(x, features) for x in layers[:-1]],
        )


@pytest.mark.parametrize("dim", [D, 24])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@torch.no_grad()
def test_frames_against_a_plain_restatement(options: dict[str, Any], dim: int) -> None:
    model, outputs = tracker(dim, **options), frames(4, dim)
    for b in range(BATCH):
        plain = Plain(model, options.get("reid", True), options.get("inverse_matching", False))
        for tracked, output in zip(run(model, outputs), outputs, strict=True):
            for name, expected in plain.frame(output, b).items():
                if name == "layers":
                    continue
                got = getattr(tracked, name)
                if expected is None:
                    assert got is None
                else:
                    torch.testing.assert_close(got[b], expected, atol=1e-5, rtol=1e-5, msg=name)


@torch.no_grad()
def test_every_layer_predicts_in_training() -> None:
    model, outputs = tracker().train(), frames(2)
    plain = Plain(model, reid=True, inverse=False)
    for tracked, output in zip(run(model, outputs), outputs, strict=True):
        expected = plain.frame(output, 1)["layers"]
        assert len(tracked.intermediate) == SMALL.tracker_layers - 1
        for prediction, (classes, masks, _) in zip(tracked.intermediate, expected, strict=True):
            torch.testing.assert_close(prediction.class_logits[1], classes, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(prediction.mask_logits[1], masks, atol=1e-5, rtol=1e-5)
        assert tracked.source is output


def test_the_published_number_of_parameters() -> None:
    """Without the re-ID head, which the segmenter's checkpoint has."""
    model = CavisTracker(SlotSizes(200, 256, 40))
    assert model.appearance is not None
    count = sum(p.numel() for p in model.parameters())
    assert count - sum(p.numel() for p in model.appearance.parameters()) == 9_812_265


@torch.no_grad()
def test_identical_frames_leave_the_slots_alone() -> None:
    output = frames(1)[0]
    for tracked in run(tracker(), [output] * 3):
        assert tracked.order is not None
        assert tracked.order.tolist() == [list(range(Q))] * BATCH


@torch.no_grad()
def test_the_order_of_queries_in_a_later_frame_does_not_matter() -> None:
    model, (first, second, third) = tracker(), frames(3)
    shuffle = torch.tensor([3, 1, 4, 0, 2]).expand(BATCH, -1)
    straight = run(model, [first, second, third])
    shuffled = run(model, [first, second.reorder(shuffle), third])
    for a, b in zip(straight, shuffled, strict=True):
        torch.testing.assert_close(a.class_logits, b.class_logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.mask_logits, b.mask_logits, atol=1e-5, rtol=1e-5)
    before, after = straight[1].order, shuffled[1].order
    assert before is not None
    assert after is not None
    assert torch.equal(shuffle.gather(1, after), before)


@pytest.mark.parametrize(("inverse", "expected"), [(False, [1, 2, 0]), (True, [2, 0, 1])])
@torch.no_grad()
def test_a_cycle_of_three_and_its_inverse(inverse: bool, expected: list[int]) -> None:
    """Reference r continues as current query (1, 2, 0)[r]; the public code has the inverse."""
    sizes = SlotSizes(3, D, CLASSES, SMALL)
    model = CavisTracker(sizes, context="none", reid=False, inverse_matching=inverse).eval()
    objects = torch.randn(1, 3, D, generator=torch.Generator().manual_seed(0))
    state = model.init_state(1)
    for order in ([0, 1, 2], [2, 0, 1]):
        queries = objects[:, order]
        output = FrameOutput(
            torch.zeros(1, 3, 4),
            torch.zeros(1, 3, 8, 8),
            queries,
            queries,
            mask_features=torch.zeros(1, D, 8, 8),
        )
        tracked, state = model.track(output, NOTHING, state)
    assert tracked.order is not None
    assert tracked.order.tolist() == [expected]


def test_what_a_frame_gives_in_evaluation() -> None:
    for options in VARIANTS:
        tracked = run(tracker(**options), frames(1))[0]
        assert tracked.intermediate == ()
        assert tracked.source is None
        assert tracked.reference is not None
        assert (tracked.identity is None) == (options.get("reid") is False)


def test_gradients_pass_from_frame_to_frame_until_the_state_is_detached() -> None:
    model = tracker().train()
    first, second = frames(2)
    first.queries.requires_grad_()
    _, state = model.track(first, NOTHING, None)
    for cut in (False, True):
        tracked, _ = model.track(second, NOTHING, model.detach(state) if cut else state)
        (gradient,) = torch.autograd.grad(
            tracked.class_logits.square().sum(), first.queries, retain_graph=True, allow_unused=True
        )
        assert (gradient is None) == cut


@torch.no_grad()
def test_unused_heads_are_computed_and_change_nothing() -> None:
    calls: list[bool] = []
    results = {}
    for unused in (False, True):
        model, outputs = tracker(unused_heads=unused), frames(2)
        model.heads.register_forward_hook(lambda *_, unused=unused: calls.append(unused))
        results[unused] = run(model, outputs)
    assert calls.count(False) == 2
    assert calls.count(True) == 2 * SMALL.tracker_layers
    for a, b in zip(results[False], results[True], strict=True):
        assert torch.equal(a.class_logits, b.class_logits)
        assert torch.equal(a.mask_logits, b.mask_logits)


def test_what_is_kept_alive_adds_nothing() -> None:
    final = Prediction(torch.randn(1, 2, 3), torch.randn(1, 2, 4, 4))
    classes = torch.tensor([[[1.0, float("inf"), -2.0], [3.0, -float("inf"), 0.0]]])
    masks = torch.full((1, 2, 4, 4), -float("inf"), requires_grad=True)
    unused = Prediction(classes.requires_grad_(), masks)
    kept = kept_alive(final, (unused,))
    assert torch.equal(kept.class_logits, final.class_logits)
    reached = torch.autograd.grad(
        kept.class_logits.sum(), (unused.class_logits, unused.mask_logits), allow_unused=True
    )
    assert all(g is not None for g in reached)


def test_the_image_stage_shares_the_appearance() -> None:
    model = tracker()
    stage = model.image_stage()
    assert isinstance(stage, AppearanceTracker)
    assert stage.appearance is model.appearance
    keys = set(stage.state_dict())
    assert keys == {k for k in model.state_dict() if k.startswith("appearance.")}
    wider = tracker(24)
    part = wider.image_stage()
    assert part is not None
    assert set(part.state_dict()) < set(wider.state_dict())
    assert tracker(context="none", reid=False).image_stage() is None


@torch.no_grad()
def test_the_image_stage_adds_identities_in_training() -> None:
    model = tracker()
    stage = model.image_stage()
    assert stage is not None
    outputs = frames(2)
    identities = [x.identity for x in run(model, outputs)]
    for got, output, identity in zip(run(stage.train(), outputs), outputs, identities, strict=True):
        assert got.class_logits is output.class_logits
        assert got.order is None
        assert got.identity is not None
        assert torch.equal(got.identity, identity)  # type: ignore[arg-type]


@torch.no_grad()
def test_the_image_stage_links_frames_in_evaluation() -> None:
    stage = tracker(context="none").image_stage()
    assert stage is not None
    first = frames(1)[0]
    outputs = [first]
    for shuffle in ([3, 1, 4, 0, 2], [2, 4, 0, 1, 3]):
        outputs.append(first.reorder(torch.tensor(shuffle).expand(BATCH, -1)))
    for linked in run(stage.eval(), outputs):
        assert torch.equal(linked.class_logits, first.class_logits)
        assert torch.equal(linked.embeddings, first.embeddings)


@torch.no_grad()
def test_the_image_stage_links_by_identity_too() -> None:
    """Embeddings alone would keep the order; the identities, which are larger, turn it round."""
    stage = tracker(context="none").image_stage()
    assert isinstance(stage, AppearanceTracker)
    a, b = frames(2)
    identity = iter([10 * torch.eye(Q, D).expand(BATCH, -1, -1), 10 * torch.eye(Q, D).flip(0)])
    stage.appearance.forward = lambda *_: next(identity).expand(BATCH, -1, -1)  # type: ignore[method-assign]
    same = FrameOutput(
        b.class_logits, b.mask_logits, a.queries, a.embeddings, mask_features=a.mask_features
    )
    linked = run(stage.eval(), [a, same])[1]
    assert torch.equal(linked.class_logits, b.class_logits.flip(1))


def test_matching_is_in_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    reference = 1 + 1e-3 * torch.randn(1, 6, 32)
    shuffle = torch.tensor([2, 0, 1, 5, 3, 4])
    with torch.autocast("cpu", torch.bfloat16):
        permutation = match_embeddings(reference, reference[:, shuffle])
    assert shuffle[permutation[0]].tolist() == list(range(6))


def test_embeddings_that_are_no_numbers_still_give_a_permutation() -> None:
    current = torch.randn(1, 4, 8)
    current[0, 1] = float("nan")
    current[0, 2] = 0
    permutation = match_embeddings(torch.randn(1, 4, 8), current)
    assert sorted(permutation[0].tolist()) == [0, 1, 2, 3]


def test_without_values_an_order_has_its_shape() -> None:
    permutation = match_embeddings(*torch.empty(2, 1, 4, 8, device="meta"))
    assert permutation.shape == (1, 4)
    assert permutation.dtype == torch.int64


def test_what_cannot_be_is_refused() -> None:
    sizes = SlotSizes(Q, D, CLASSES, SMALL)
    with pytest.raises(BenchError, match="context features 'depthwise' need re-identification"):
        CavisTracker(sizes, reid=False)
    output = frames(1)[0]
    output.mask_features = None
    with pytest.raises(BenchError, match="gives no mask_features"):
        tracker().track(output, NOTHING, None)
