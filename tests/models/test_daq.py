"""DVIS-DAQ's tracker against a plain re-statement with lists; the life of tracks; settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from videomt_bench.errors import BenchError
from videomt_bench.models import (
    DaqTracker,
    EncoderSpec,
    FrameOutput,
    Mask2Former,
    ModelSpec,
    TrackLimits,
    TrackSelection,
    VideoSegmenter,
    load_variant,
)
from videomt_bench.models.anchors import MEMORY
from videomt_bench.models.conformance import check_variant
from videomt_bench.models.daq_tracks import Tracks, keep
from videomt_bench.models.looking_ahead import LookingAhead
from videomt_bench.models.postprocess import NO_MASK
from videomt_bench.models.slot_attention import nearest_queries

SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
LENGTH = 6


@dataclass
class Sequence:
    """A track as the facts have it: lists that grow."""

    number: int
    queries: list[Tensor] = field(default_factory=list)
    logits: dict[int, Tensor] = field(default_factory=dict)
    masks: dict[int, Tensor] = field(default_factory=dict)
    positions: list[Tensor] = field(default_factory=list)
    fused: Tensor | None = None
    invalid: int = 0

    def place(self, position: Tensor) -> None:
        if self.fused is None:
            self.fused = position
        else:
            cosines = [
                torch.cosine_similarity(x, position, dim=0) for x in self.positions[-MEMORY:]
            ]
            share = torch.stack(cosines).mean().clamp(min=0)
            self.fused = (1 - share) * self.fused + share * position
        self.positions.append(position)


class Plain:
    """The tracker on one stream, by the text: no batch, no places, nothing bounded."""

    def __init__(self, tracker: DaqTracker) -> None:
        self.m = tracker
        self.alive: list[Sequence] = []
        self.all: list[Sequence] = []

    def mha(self, module: nn.MultiheadAttention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return module(q[None], k[None], v[None], need_weights=False)[0][0]

    def position(self, mask: Tensor, features: Tensor) -> Tensor:
        inside = mask.sigmoid() > 0.5
        total = (features * inside).flatten(1).sum(1)
        return self.m.pos_embed(total / (inside.sum() + 1e-8))

    def predict(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        heads = self.m.heads
        normed = heads.norm(x)
        projected = self.m.mask_feature_proj(features[None])[0]
        masks = torch.einsum("qd,dhw->qhw", heads.mask_embed(normed), projected)
        return heads.class_embed(normed), masks

    def frame(self, t: int, output: FrameOutput) -> None:
        m, rules = self.m, self.m.selection
        seg = m.query_projection(output.embeddings[0])
        features = m.map_projection(output.mask_features)[0]
        positions = torch.stack([self.position(x, features) for x in output.mask_logits[0]])
        if t == 0:
            x, place, key = seg, torch.zeros_like(seg), seg
        else:
            new = m.new_instance.weight.expand(len(seg), -1)
            x = torch.cat([*(s.queries[-1][None] for s in self.alive), new])
            place = torch.cat([*(s.fused[None] for s in self.alive), positions])
            key = seg + positions
        slots = None if t == 0 else self.slots(m.query_projection(output.entered[0]), seg, features)
        for layer in m.layers:
            x = layer.cross_norm(x + self.mha(layer.cross_attention, x + place, key, seg))
            x = layer.self_norm(x + self.mha(layer.self_attention, x, x, x))
            x = layer.ffn_norm(x + layer.linear2(layer.linear1(x).relu()))
        logits, masks = self.predict(x, features)
        score = logits.softmax(-1)[:, :-1].amax(-1)
        if t == 0:
            first = output.class_logits[0].softmax(-1)[:, :-1].amax(-1)
            valid = (first > rules.first).tolist()
        else:
            valid = (score > rules.score).tolist()
            if rules.confirmed is not None:
                for i in range(len(self.alive)):
                    valid[i] = valid[i] and bool(slots[i] > rules.confirmed)
        going_on = []
        for i, ok in enumerate(valid):
            if i < len(self.alive):
                sequence = self.alive[i]
                sequence.invalid = 0 if ok else sequence.invalid + 1
                if sequence.invalid >= m.limits.patience:
                    continue
            elif ok:
                sequence = Sequence(len(self.all))
                self.all.append(sequence)
            else:
                continue
            sequence.queries.append(x[i])
            sequence.logits[t], sequence.masks[t] = logits[i], masks[i]
            if ok:
                sequence.place(self.position(masks[i], features))
            going_on.append(sequence)
        self.alive = going_on

    def slots(self, learned: Tensor, seg: Tensor, features: Tensor) -> Tensor:
        m, background = self.m, self.m.background.weight
        who = torch.cat([*(s.queries[-1][None] for s in self.alive), background])
        compete = torch.cat([*(s.fused[None] for s in self.alive), background])
        x = learned[nearest_queries(who[None], learned[None])[0]]
        for layer in m.slot_layers:
            x = layer(x[None], who[None], compete[None], seg[None])[0]
        return self.predict(x, features)[0].softmax(-1)[:, :-1].amax(-1)


def built(
    selection: TrackSelection, limits: TrackLimits, name: str = "dvis_daq", unused: bool = False
) -> VideoSegmenter:
    torch.manual_seed(0)
    tracker = partial(DaqTracker, limits=limits, unused_heads=unused)
    variant = replace(load_variant(name), tracker=tracker)
    model = variant.build(replace(SPEC, selection=selection)).eval()
    for parameter in model.tracker.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.2)
    nn.init.normal_(model.tracker.heads.class_embed.weight, std=0.5)
    nn.init.normal_(model.tracker.new_instance.weight)
    # random weights this large make much of rounding
    return model.double()


def clip(streams: int = 1) -> Tensor:
    noise = torch.randn(streams, LENGTH, 3, 48, 64, generator=torch.Generator().manual_seed(3))
    scale = torch.linspace(0.2, 6, streams * LENGTH).view(streams, LENGTH, 1, 1, 1)
    return (noise * scale).double()


@torch.no_grad()
def restated(model: VideoSegmenter, frames: Tensor) -> Plain:
    plain = Plain(model.tracker)
    memory = model.memory.init_state(1)
    for t in range(frames.shape[1]):
        output, memory = model.segment(model.encode(frames[:, t]), memory)
        plain.frame(t, output)
    return plain


@torch.no_grad()
def scores(model: VideoSegmenter) -> Tensor:
    classes = model(clip())[0].class_logits.softmax(-1)[..., :-1].amax(-1)
    return classes[classes > 0.01].sort().values


def eventful(name: str = "dvis_daq", confirmed: bool = False) -> VideoSegmenter:
    """A model of random weights, and thresholds by which its tracks begin, are missed and end."""
    limits = TrackLimits(patience=2, places=10)
    found = scores(built(TrackSelection(0.0, 0.0), limits, name))
    # between scores that are far apart, so that rounding decides nothing
    widest = found.diff().argsort(descending=True)[:30]
    for i in sorted(widest.tolist(), key=lambda i: abs(i - len(found) // 2)):
        score = float(found[i] + found[i + 1]) / 2
        model = built(TrackSelection(0.0, score, score if confirmed else None), limits, name)
        plain = restated(model, clip())
        late = [s for s in plain.all if min(s.logits) > 0]
        ended = [s for s in plain.all if max(s.logits) < LENGTH - 1]
        if late and ended and plain.alive:
            return model
    pytest.fail("nothing happens, so nothing would be shown")


@pytest.mark.parametrize("name", ["dvis_daq", "eomt_dvis_daq"])
@pytest.mark.parametrize("confirmed", [False, True])
@torch.no_grad()
def test_tracks_are_those_of_a_plain_restatement(name: str, confirmed: bool) -> None:
    model = eventful(name, confirmed)
    plain = restated(model, clip())
    output, _ = model(clip())
    for t in range(LENGTH):
        tracks = output.tracks[0, t]
        expected = {s.number: s for s in plain.all if t in s.logits}
        assert sorted(tracks[tracks >= 0].tolist()) == sorted(expected)
        for place, number in enumerate(tracks.tolist()):
            logits, masks = output.class_logits[0, t, place], output.mask_logits[0, t, place]
            if number < 0:
                assert torch.equal(masks, torch.full_like(masks, NO_MASK))
                assert float(logits.softmax(-1)[:-1].max()) < 1e-3
                continue
            torch.testing.assert_close(logits, expected[number].logits[t], atol=1e-3, rtol=0)
            torch.testing.assert_close(masks, expected[number].masks[t], atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_streams_with_other_numbers_of_tracks_do_not_mix() -> None:
    model = eventful()
    frames = clip(2)
    both, state = model(frames)
    living = (state.tracker.number >= 0).sum(1).tolist()
    assert living[0] != living[1]
    for b in range(2):
        alone, _ = model(frames[b : b + 1])
        assert torch.equal(alone.tracks[0], both.tracks[b])
        torch.testing.assert_close(alone.class_logits[0], both.class_logits[b], atol=1e-4, rtol=0)
        torch.testing.assert_close(alone.mask_logits[0], both.mask_logits[b], atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_heads_that_nothing_uses_change_nothing() -> None:
    selection, limits = TrackSelection(), TrackLimits()
    lean, whole = (built(selection, limits, unused=unused) for unused in (False, True))
    (a, _), (b, _) = lean(clip()), whole(clip())
    torch.testing.assert_close(a.class_logits, b.class_logits, atol=1e-6, rtol=0)
    assert torch.equal(a.mask_logits, b.mask_logits)
    assert torch.equal(a.tracks, b.tracks)


def test_the_contract_holds_where_tracks_begin_and_end() -> None:
    model = eventful()
    variant = replace(
        load_variant("dvis_daq"),
        tracker=lambda sizes: DaqTracker(
            replace(sizes, selection=model.tracker.selection), model.tracker.limits
        ),
    )
    assert [c for c in check_variant(variant) if not c.passed] == []


# The life of tracks


def none(places: int) -> Tracks:
    return Tracks.none(places, torch.zeros(1, 2))


def after(tracks: Tracks, found: list[int], limits: TrackLimits, **more: Tensor) -> Tracks:
    """One frame; ``found`` has 0 or 1 for every row."""
    living = tracks.living(0)
    mask = torch.tensor(found, dtype=torch.bool)
    kept = keep(tracks, living, mask, more.get("score", mask.float()), limits)
    return tracks._replace(
        absent=kept.seats.settle(kept.absent),
        number=kept.seats.settle(kept.number, -1),
        born=kept.born,
    )


def test_a_track_ends_when_it_was_not_seen_for_long_and_its_place_is_used_again() -> None:
    limits = TrackLimits(patience=3)
    tracks = after(none(4), [0, 1, 1], limits)
    assert tracks.number.tolist() == [0, 1, -1, -1]
    for misses in (1, 2):
        tracks = after(tracks, [0, 1, 0, 0, 0], limits)
        assert tracks.absent.tolist()[:2] == [misses, 0]
    tracks = after(tracks, [1, 1, 0, 0, 0], limits)
    assert tracks.absent.tolist()[:2] == [0, 0], "seen again, it starts anew"
    for _ in range(2):
        tracks = after(tracks, [0, 1, 0, 0, 0], limits)
    tracks = after(tracks, [0, 1, 1, 0, 1], limits)
    # the ended track is not in the frame; the first newcomer lives where it was
    assert tracks.number.tolist() == [2, 1, 3, -1]
    assert int(tracks.born) == 4


def test_where_there_are_too_few_places_the_best_newcomers_live() -> None:
    limits = TrackLimits()
    tracks = after(none(3), [1, 0, 0], limits)
    score = torch.tensor([0.1, 0.5, 0.9, 0.7, 0.6])
    tracks = after(tracks, [1, 1, 1, 1, 1], limits, score=score)
    assert tracks.number.tolist() == [0, 1, 2]
    full = keep(tracks, tracks.living(0), torch.ones(6, dtype=torch.bool), torch.ones(6), limits)
    assert full.seats.rows.tolist() == [0, 1, 2]
    chosen = keep(
        after(none(3), [1, 0, 0], limits),
        torch.tensor([0]),
        torch.ones(5, dtype=torch.bool),
        score,
        limits,
    )
    assert chosen.seats.rows.tolist() == [0, 2, 3]


@torch.no_grad()
def test_a_track_that_is_not_seen_keeps_its_anchor_and_its_new_query() -> None:
    model = eventful()
    frames = clip()
    state = model.init_state(1)
    moved = 0
    for t in range(LENGTH):
        before = state.tracker
        _, state = model.step(frames[:, t], state)
        if before is None:
            continue
        lasting = (before.number >= 0) & (before.number == state.tracker.number)
        missed = lasting & (state.tracker.absent > 0)
        same = (before.anchors.fused == state.tracker.anchors.fused).all(-1)
        assert bool(same[missed].all())
        assert not bool((before.queries == state.tracker.queries).all(-1)[missed].any())
        moved += int((~same[lasting & ~missed]).sum())
    assert moved


# Settings


def test_sizes_and_names_at_full_size() -> None:
    """18.63 M parameters, under names that the published ones map to one to one."""
    spec = ModelSpec(EncoderSpec("vit_large_patch14_dinov2"), num_classes=40)
    with torch.device("meta"):
        tracker = load_variant("dvis_daq").build(spec).tracker
    state = {k: tuple(v.shape) for k, v in tracker.state_dict().items()}
    own = {k: v for k, v in state.items() if not k.startswith("appearance.")}
    per_layer, per_slot_layer, rest = 18, 18, 2 + 6 + 2 + 2 + 6 + 2
    assert len(own) == 6 * (per_layer + per_slot_layer) + rest
    count = sum(torch.Size(shape).numel() for shape in own.values())
    assert count == 18_628_649
    assert own["new_instance.weight"] == (1, 256)
    assert own["background.weight"] == (5, 256)
    assert own["slot_layers.5.project_content.weight"] == (256, 256)
    assert own["layers.0.linear1.weight"] == (2048, 256)
    assert own["heads.class_embed.weight"] == (41, 256)
    assert own["mask_feature_proj.weight"] == (256, 256, 1, 1)


def test_a_model_whose_tracks_begin_and_end_cannot_look_ahead() -> None:
    with pytest.raises(BenchError, match=r"DaqTracker.*the only valid look-ahead is 0"):
        LookingAhead(load_variant("dvis_daq").build(SPEC), 2)


def test_a_segmenter_without_mask_features_is_refused() -> None:
    model = load_variant("dvis_daq").build(SPEC).eval()
    output, _ = model.segment(model.encode(torch.randn(1, 3, 48, 64)), model.memory.init_state(1))
    with pytest.raises(BenchError, match="gives no mask_features"):
        model.tracker.read(replace(output, mask_features=None))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TrackSelection(score=1.0), "'score' of 1.0"),
        (lambda: TrackSelection(confirmed=-0.1), "'confirmed' of -0.1"),
        (lambda: TrackLimits(patience=0), "patience of tracks is 0"),
        (lambda: TrackLimits(places=0), "places of tracks is 0"),
    ],
)
def test_bad_settings_are_one_sentence(make, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        make()


def test_thresholds_reach_the_tracker() -> None:
    spec = replace(SPEC, selection=TrackSelection(0.2, 0.3, 0.4))
    assert load_variant("dvis_daq").build(spec).tracker.selection == TrackSelection(0.2, 0.3, 0.4)
    assert isinstance(load_variant("dvis_daq").build(spec).segmenter, Mask2Former)
