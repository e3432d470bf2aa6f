"""How a refiner learns: a clip is one image, guided by the online model, which stays as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import ClipTargets, collate
from videomt_bench.errors import BenchError
from videomt_bench.models import ClipOutput, ClipPrediction, OfflineVideo, load_variant
from videomt_bench.training import losses
from videomt_bench.training.engine import TrainingModel, TrainSettings, train
from videomt_bench.training.freezing import freeze
from videomt_bench.training.hooks import LOSSES
from videomt_bench.training.identity_losses import reference_loss, refined_loss
from videomt_bench.training.layers import LossSettings
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.whole_clip import as_one_image, targets_of_one_image

ONLINE = ("segmenter", "memory", "tracker")
SETTINGS = LossSettings(num_points=12)


def offline(tiny: Any, name: str = "dvis_plus_offline") -> OfflineVideo:
    return OfflineVideo(tiny.awake(tiny.model(name)))


def one_class(output: ClipOutput) -> ClipOutput:
    """The classes of a track the same in all frames, as a refiner has them."""

    def flat(p: ClipPrediction) -> tuple[Tensor, Tensor]:
        return p.class_logits[:, :1].expand_as(p.class_logits), p.mask_logits

    layers = tuple(ClipPrediction(*flat(p)) for p in output.intermediate)
    return ClipOutput(*flat(output), output.queries, output.embeddings, layers)


def test_frames_lie_below_each_other(clips) -> None:
    output, targets = clips(0, (3,))
    image, (target,) = as_one_image(output), targets_of_one_image(targets)
    batch, length, count, height, width = output.mask_logits.shape
    assert image.mask_logits.shape == (batch, 1, count, length * height, width)
    assert target.masks.shape == (3, 1, length * 16, 16)
    for t in range(length):
        rows = slice(t * height, (t + 1) * height)
        assert torch.equal(image.mask_logits[:, 0, :, rows], output.mask_logits[:, t])
        assert torch.equal(target.masks[:, 0, 16 * t : 16 * t + 16], targets[0].masks[:, t])
    assert target.present.all()
    assert torch.equal(image.class_logits[:, 0], output.class_logits.mean(1))


def test_losses_as_restated(clips, restated, same_points) -> None:
    """By the plain loops for one frame, on the tall image, with four times the points."""
    output, targets = clips(1, (3, 2))
    output = one_class(output)
    tall = as_one_image(output)
    lengthened = ClipOutput(
        *(x.expand(-1, 4, *x.shape[2:]) for x in (tall.class_logits, tall.mask_logits)),
        tall.queries,
        tall.embeddings,
        tuple(
            ClipPrediction(
                *(x.expand(-1, 4, *x.shape[2:]) for x in (p.class_logits, p.mask_logits))
            )
            for p in tall.intermediate
        ),
    )
    # four equal frames that show all objects: per frame they cost what the one image does
    whole = [
        ClipTargets(
            t.labels,
            t.masks.expand(-1, 4, -1, -1),
            t.present.expand(-1, 4),
        )
        for t in targets_of_one_image(targets)
    ]
    points = same_points(48)
    pairs = restated.match(lengthened, whole, "per_frame", lambda b, t: points)
    at = same_points(3 * 48), same_points(12)
    expected = restated.losses(lengthened, whole, "per_frame", pairs, lambda *_: at)
    found = clip_losses(output, targets, "whole_clip", SETTINGS)
    assert {k: float(v.detach()) for k, v in found.items()} == pytest.approx(expected, rel=1e-3)


def test_the_share_of_a_batch(clips, same_points) -> None:
    """Micro-batches of one clip sum up to the whole batch, whose objects count once."""
    output, targets = clips(2, (3, 2))
    output = one_class(output)
    whole = clip_losses(output, targets, "whole_clip", SETTINGS)["loss_class"]
    parts = []
    for b in range(2):
        layers = tuple(
            ClipPrediction(p.class_logits[b : b + 1], p.mask_logits[b : b + 1])
            for p in output.intermediate
        )
        part = ClipOutput(
            output.class_logits[b : b + 1],
            output.mask_logits[b : b + 1],
            output.queries[b : b + 1],
            output.embeddings[b : b + 1],
            layers,
        )
        totals = {"whole_clip": 5 / 2}
        found = clip_losses(part, targets[b : b + 1], "whole_clip", SETTINGS, False, totals)
        parts.append(found["loss_class"])
    assert float(sum(parts)) / 2 == pytest.approx(float(whole), rel=1e-4)


@pytest.mark.parametrize("guided", [True, False])
def test_the_online_model_guides(tiny, guided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The online predictions show the objects in tracks 4 and 1, the refined ones in 0 and 3."""
    model, batch = offline(tiny), collate([tiny.Clips(objects=2)[0]], 8)
    with torch.no_grad():
        output, _ = model.train()(batch.frames)
    masks = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    masks[0, :, :16, :16] = masks[1, :, 16:, 16:] = True
    target = ClipTargets(batch.targets[0].labels, masks, torch.ones(2, 3, dtype=torch.bool))
    logits = 40 * torch.nn.functional.max_pool2d(masks.float(), 4) - 20

    def showing(tracks: list[int]) -> Tensor:
        shown = torch.full_like(output.mask_logits, -20.0)
        shown[0, :, tracks] = logits.transpose(0, 1)
        return shown

    assert output.source is not None
    source = replace(output.source, mask_logits=showing([4, 1]))
    output = replace(output, mask_logits=showing([0, 3]), intermediate=(), source=source)
    seen: list[list[int]] = []
    pairs = losses._pairs

    def watched(targets: Any, queries: Any) -> Any:
        seen.append(queries[0][-1, :, 0].tolist())
        return pairs(targets, queries)

    monkeypatch.setattr(losses, "_pairs", watched)
    clip_losses(output, [target], "whole_clip", SETTINGS, guided)
    assert seen == [[4, 1] if guided else [0, 3]]


@pytest.mark.parametrize(
    "name", ["dvis_offline", "dvis_plus_offline", "cavis_offline", "dvis_daq_offline_conv"]
)
def test_the_refiner_alone_learns(tiny, tmp_path, name: str) -> None:
    model = OfflineVideo(tiny.model(name))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    settings = tiny.settings(iterations=4, matching="whole_clip", frozen=ONLINE)
    train(model, tiny.Clips(objects=2), settings, tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / LOSSES).read_text().splitlines()]
    assert set(lines[0]) == {"step", "loss", "loss_class", "loss_mask", "loss_dice"}
    for key, value in model.state_dict().items():
        assert value.isfinite().all()
        assert torch.equal(value, before[key]) != key.startswith("refiner."), key


def test_gradients_reach_the_refiner_from_all_layers(tiny) -> None:
    model, clips = offline(tiny), tiny.Clips(objects=2)
    batch = collate([clips[0], clips[1]], 8)
    with freeze(model, ONLINE) as modules:
        trained = TrainingModel(model, "whole_clip", SETTINGS, modules).train()
        output, _ = model(batch.frames)
        assert len(output.intermediate) == len(model.refiner.layers) - 1
        assert output.source is not None
        assert not output.source.class_logits.requires_grad
        sum(trained(batch).values()).backward()
    for key, parameter in model.named_parameters():
        if key.startswith("refiner."):
            assert (parameter.grad != 0).any(), key
        else:
            assert parameter.grad is None, key


def test_refined_tracks_attract_over_time() -> None:
    """Per frame and object: own embeddings in all frames against others in this frame (2.4)."""
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    queries = [torch.tensor([[2], [-1], [0]]), torch.tensor([[1]])]
    items = []
    for b, tracks in enumerate(([2, 0], [1])):
        for t in range(3):
            for q in tracks:
                anchor = x[b, t, q]
                negatives = [anchor @ x[b, t, j] for j in range(4) if j != q]
                positives = [anchor @ x[b, s, q] for s in range(3)]
                gaps = [(n - p).exp() for n in negatives for p in positives]
                items.append((1 + sum(gaps)).log())
    expected = sum(items) / len(items)
    found = refined_loss(x, queries)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    nothing = refined_loss(x, [torch.full((1, 1), -1)] * 2)
    (gradient,) = torch.autograd.grad(nothing, x)
    assert nothing.item() == 0.0
    assert not gradient.any()


def test_the_refiner_learns_it_where_it_has_a_weight(tiny) -> None:
    model, batch = offline(tiny), collate([tiny.Clips(objects=2)[0]], 8)
    output, _ = model.train()(batch.frames)
    assert (output.embeddings != output.queries).any()
    weighed = replace(SETTINGS, refined_weight=2.0)
    found = clip_losses(output, batch.targets, "whole_clip", weighed)
    assert found["loss_refined"] > 0
    (gradient,) = torch.autograd.grad(found["loss_refined"], model.refiner.heads.norm.weight)
    assert gradient.any()


def test_a_whole_clip_is_not_learned_in_chunks() -> None:
    with pytest.raises(BenchError, match="chunk is 2; with the matching 'whole_clip'"):
        TrainSettings(1, 1, matching="whole_clip", chunk=2)


# The online stage of DVIS++


def test_the_video_stage_learns_references_with_noise(tiny, tmp_path) -> None:
    variant = load_variant("dvis_plus")
    model = tiny.model("dvis_plus")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    weights = LossSettings(num_points=16, first_reference=True, reference_cosine_weight=0.0)
    settings = tiny.settings(
        iterations=4, losses=weights, matching=variant.matching, frozen=variant.frozen
    )
    train(model, tiny.Clips(objects=2), settings, tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / LOSSES).read_text().splitlines()]
    assert lines[0]["loss_reference"] > 0
    assert lines[0]["loss_reference_cosine"] == 0
    for key, value in model.state_dict().items():
        frozen = any(key.startswith(f"{part}.") for part in variant.frozen)
        learned = key.startswith("tracker.") and not frozen
        assert torch.equal(value, before[key]) != learned, key


def test_the_image_stage_learns_by_tracklets(tiny, tmp_path) -> None:
    whole = tiny.model("dvis_plus")
    model = type(whole)(whole.segmenter, whole.memory, whole.tracker.image_stage())
    weights = LossSettings(
        num_points=16,
        tracklets=True,
        identity_cosine_weight=3.0,
        prototype_weight=0.0,
        prototype_cosine_weight=0.0,
    )
    before = {k: v.clone() for k, v in model.state_dict().items()}
    settings = tiny.settings(iterations=4, matching="per_frame", losses=weights)
    train(model, tiny.Clips(objects=2), settings, tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / LOSSES).read_text().splitlines()]
    assert max(line["loss_identity"] for line in lines) > 0
    assert all(line["loss_prototype"] == 0 for line in lines)
    for key, _ in model.named_parameters():
        assert not torch.equal(model.state_dict()[key], before[key]), key


def test_the_references_of_dvis_plus_begin_with_the_first_frame() -> None:
    """Frame i against i - 1 and i + 1, from the second reference of the list on (1.9, 2.3)."""
    reference = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    queries = [torch.tensor([[2, 2, 2, 2], [4, 4, 4, 4]])]
    whole = reference_loss(reference, queries, from_first=True)
    later = reference_loss(
        torch.cat([torch.zeros(1, 1, 5, 6), reference], 1),
        [torch.cat([q[:, :1], q], 1) for q in queries],
    )
    assert [float(x) for x in whole] == pytest.approx([float(x) for x in later])
    assert float(whole[0]) != pytest.approx(float(reference_loss(reference, queries)[0]), rel=1e-3)
