from __future__ import annotations

import json
from itertools import islice

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.training import engine, sharing
from videomt_bench.training.engine import TrainSettings, train
from videomt_bench.training.hooks import CHECKPOINT, LOSSES
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.optim import OptimSettings
from videomt_bench.training.sharing import StreamSampler, split_batch


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def difference(a, b) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def one_sentence(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


# Sharing a batch


@pytest.mark.parametrize(
    ("batch", "world", "per_device", "expected"),
    [
        (8, 1, None, (8, 1)),
        (8, 8, None, (1, 1)),
        (8, 1, 1, (1, 8)),
        (8, 2, 2, (2, 2)),
        (8, 2, 100, (4, 1)),
        (6, 1, 3, (3, 2)),
    ],
)
def test_split_batch(batch, world, per_device, expected):
    assert split_batch(batch, world, per_device) == expected


@pytest.mark.parametrize(
    ("batch", "world", "per_device", "words"),
    [
        (8, 3, None, "batch 8 cannot be shared by 3 processes"),
        (8, 1, 3, "8 clips per process cannot be taken 3 at a time"),
        (8, 1, 0, "0 at a time"),
        (2, 4, None, "batch 2 cannot be shared by 4 processes"),
    ],
)
def test_a_batch_that_cannot_be_shared(batch, world, per_device, words):
    with pytest.raises(BenchError, match=words) as caught:
        split_batch(batch, world, per_device)
    one_sentence(caught.value)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
@pytest.mark.parametrize("per_device", [None, 1])
@pytest.mark.parametrize("start", [0, 5])
def test_a_step_takes_the_same_samples_however_shared(monkeypatch, world, per_device, start):
    """Step k takes samples 8k to 8k + 7, each once; also in a training that continues."""
    micro, accumulation = split_batch(8, world, per_device)
    steps: list[list[int]] = [[] for _ in range(3)]
    monkeypatch.setattr(sharing, "get_world_size", lambda: world)
    for rank in range(world):
        monkeypatch.setattr(sharing, "get_rank", lambda rank=rank: rank)
        sampler = StreamSampler(micro)
        sampler.start = start * accumulation
        for i, samples in enumerate(islice(sampler, 3 * accumulation)):
            assert len(samples) == micro
            steps[i // accumulation] += samples
    for k, samples in enumerate(steps, start):
        assert sorted(samples) == list(range(8 * k, 8 * k + 8))


@pytest.fixture
def plain_descent(monkeypatch, tiny):
    """Gradient descent without momentum: weights are linear in the gradients."""
    monkeypatch.setattr(engine, "build_optimizer", tiny.plain_descent)
    return tiny.plain_settings


def test_accumulated_steps_equal_whole_ones(tiny, tmp_path, same_points, plain_descent):
    """Where both halves have two objects per clip, so that their normalisers agree (1e-5)."""
    results = []
    for per_device in (None, 2, 1):
        model, clips = tiny.model(), tiny.Clips(objects=2)
        settings = tiny.settings(iterations=3, batch=4, per_device=per_device, optim=plain_descent)
        train(model, clips, settings, tmp_path / str(per_device), seed=0)
        assert clips.read == list(range(12))
        results.append(weights(model))
    start = weights(tiny.model())
    assert difference(results[0], start) > 1e-3
    assert difference(results[0], results[1]) < 1e-5
    assert difference(results[0], results[2]) < 1e-5


def test_normalisers_are_those_of_a_micro_batch(tiny, same_points, clips):
    """Accumulation averages: other objects per clip than in the whole batch weigh differently."""
    output, targets = clips(0, (3, 1))
    output.intermediate = ()
    settings = tiny.settings().losses
    whole = clip_losses(output, targets, "first_appearance", settings)

    def alone(b: int) -> dict[str, torch.Tensor]:
        part = type(output)(
            output.class_logits[b : b + 1], output.mask_logits[b : b + 1], *[torch.zeros(())] * 2
        )
        return clip_losses(part, targets[b : b + 1], "first_appearance", settings)

    first, second = alone(0), alone(1)
    for name, shares in dict(loss_mask=(3, 1), loss_class=(4 * 3.2, 4 * 1.4)).items():
        a, b, both = (float(x[name].detach()) for x in (first, second, whole))
        weighted = (a * shares[0] + b * shares[1]) / sum(shares)
        assert both == pytest.approx(weighted, rel=1e-5)
        assert abs(both - (a + b) / 2) > 1e-3


def test_gradients_are_clipped_on_request(tiny, tmp_path, plain_descent):
    steps = {}
    for limit in (None, 0.01):
        model = tiny.model()
        before = weights(model)
        optim = OptimSettings(lr=1.0, layer_decay=1.0, warmup=(0, 0), clip_norm=limit)
        train(
            model,
            tiny.Clips(objects=2),
            tiny.settings(iterations=1, optim=optim, checkpoint_interval=9),
            tmp_path / str(limit),
            seed=0,
        )
        after = weights(model)
        steps[limit] = sum(float((after[n] - before[n]).square().sum()) for n in after) ** 0.5
    assert steps[None] > 0.1
    assert steps[0.01] == pytest.approx(0.01, rel=1e-3)


# A training


def test_a_training_is_its_seed(tiny, tmp_path):
    """Bit by bit; loader workers change nothing."""
    results = []
    for name, seed, workers in (("a", 0, 0), ("b", 0, 2), ("c", 1, 0)):
        model = tiny.model()
        settings = tiny.settings(iterations=4, workers=workers)
        train(model, tiny.Clips(), settings, tmp_path / name, seed)
        results.append(weights(model))
    assert difference(results[0], results[1]) == 0
    assert difference(results[0], results[2]) > 0


def test_log_and_report(tiny, tmp_path):
    """One line per step, the last one of the last step; the weighted losses add up."""
    reports = []
    settings = tiny.settings(per_device=1)
    arguments = (tiny.model(), tiny.Clips(), settings, tmp_path, 0)
    train(*arguments, lambda *report: reports.append(report))
    lines = [json.loads(line) for line in (tmp_path / LOSSES).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    for line in lines:
        parts = [line["loss_class"], line["loss_mask"], line["loss_dice"]]
        assert line["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert reports
    assert all(total == 12 and 0 <= step <= 12 for step, total, _ in reports)


@pytest.mark.parametrize("masked", [False, True])
def test_masked_attention_follows_the_optimizer_steps(tiny, tmp_path, masked):
    """The sixth of twelve steps, two micro-batches each, is the last one here."""
    model = tiny.model()
    settings = tiny.settings(per_device=1, masked_attention=masked)
    with pytest.raises(tiny.Stop):
        train(model, tiny.Clips(stop=12), settings, tmp_path, seed=0)
    expected = tiny.model().segmenter
    if masked:
        expected.anneal_masks(5 / 12)
        assert 0 in expected.mask_probability
        assert 1 in expected.mask_probability
    assert model.segmenter.mask_probability == expected.mask_probability


def test_a_model_stays_on_its_device_and_keeps_its_start(tiny, tmp_path):
    """Nothing re-initialises it: the first of all steps has rate 0."""
    model = tiny.model()
    train(model, tiny.Clips(), tiny.settings(iterations=1), tmp_path, seed=0)
    assert difference(weights(model), weights(tiny.model())) == 0
    assert next(model.parameters()).device.type == "cpu"


def test_bfloat16(tiny, tmp_path, monkeypatch):
    """The model computes in bfloat16, losses and weights stay float32."""
    seen = set()

    def losses(output, *arguments):
        result = clip_losses(output, *arguments)
        seen.add((output.mask_logits.dtype, *(value.dtype for value in result.values())))
        return result

    monkeypatch.setattr(engine, "clip_losses", losses)
    model = tiny.model()
    train(model, tiny.Clips(), tiny.settings(iterations=4, precision="bf16"), tmp_path, seed=0)
    assert seen == {(torch.bfloat16, torch.float32, torch.float32, torch.float32)}
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert difference(weights(model), weights(tiny.model())) > 0
    for line in (tmp_path / LOSSES).read_text().splitlines():
        assert 0 < json.loads(line)["loss"] < 1000


def test_fp16_on_the_cpu_is_one_sentence(tiny, tmp_path):
    with pytest.raises(BenchError, match=r"fp16 .* CPU; use fp32 or bf16"):
        train(tiny.model(), tiny.Clips(), tiny.settings(precision="fp16"), tmp_path, seed=0)


@pytest.mark.parametrize("name", ["iterations", "batch", "divisor", "checkpoint_interval"])
def test_settings_below_one(name):
    with pytest.raises(BenchError, match=f"{name} is 0; it must be at least 1"):
        TrainSettings(**{"iterations": 1, "batch": 1, name: 0})


def test_an_unknown_precision():
    with pytest.raises(BenchError, match=r"unknown precision 'fp8'.*bf16, fp16, fp32"):
        TrainSettings(1, 1, precision="fp8")


# Numbers that are none


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_and_leaves_the_checkpoint(
    tiny, tmp_path, monkeypatch, value
):
    calls = []

    def losses(*arguments):
        calls.append(1)
        result = clip_losses(*arguments)
        return {**result, "loss_mask": result["loss_mask"] * value} if len(calls) == 5 else result

    monkeypatch.setattr(engine, "clip_losses", losses)
    with pytest.raises(BenchError, match="not a finite number at iteration 5") as caught:
        train(tiny.model(), tiny.Clips(), tiny.settings(), tmp_path, seed=0)
    assert "loss_mask" in one_sentence(caught.value)
    assert_finite_checkpoint(tmp_path, 3)


@pytest.mark.parametrize(("call", "kept"), [(6, 3), (12, 9)])
def test_gradients_that_are_no_numbers_are_not_saved(tiny, tmp_path, monkeypatch, call, kept):
    """The loss is still a number in the iteration that a checkpoint, or the end, follows."""
    calls = []

    def losses(output, *arguments):
        calls.append(1)
        result = clip_losses(output, *arguments)
        if len(calls) == call:
            zero = (output.mask_logits * 0).sum()
            result["loss_mask"] = result["loss_mask"] + zero.sqrt()
        return result

    monkeypatch.setattr(engine, "clip_losses", losses)
    with pytest.raises(
        BenchError, match=f"gradients are not finite .* iteration {call}:"
    ) as caught:
        train(tiny.model(), tiny.Clips(), tiny.settings(), tmp_path, seed=0)
    one_sentence(caught.value)
    assert_finite_checkpoint(tmp_path, kept)


def assert_finite_checkpoint(folder, step: int) -> None:
    checkpoint = torch.load(folder / CHECKPOINT, weights_only=True)
    assert checkpoint["meta"]["iter"] == step
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
