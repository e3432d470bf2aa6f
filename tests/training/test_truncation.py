"""Chunks of clips: what they know, where gradients end, and how much memory they take."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import Clip, ClipBatch, ClipTargets, collate
from videomt_bench.errors import BenchError
from videomt_bench.training.engine import TrainingModel, train
from videomt_bench.training.hooks import LOSSES
from videomt_bench.training.layers import LayerPredictions
from videomt_bench.training.matching import match
from videomt_bench.training.sharing import HostGroup, Share, Sharing, StreamSampler
from videomt_bench.training.truncation import chunks_of

FRAMES, SIZE = 6, 32


def clip(first: list[int], seed: int = 0, frames: int = FRAMES) -> Clip:
    """Objects of which each fills a square from some frame on."""
    g = torch.Generator().manual_seed(seed)
    masks = torch.zeros(len(first), frames, SIZE, SIZE, dtype=torch.bool)
    for o, start in enumerate(first):
        masks[o, start:, 8 * o : 8 * o + 8, 4:20] = True
    pixels = torch.randint(0, 256, (frames, 3, SIZE, SIZE), generator=g, dtype=torch.uint8)
    labels = torch.arange(len(first)) % 3
    return Clip(pixels, labels, masks, masks.flatten(2).any(2))


class Clips(torch.utils.data.Dataset):
    """Sample i depends on i alone."""

    clip_length = FRAMES

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Clip:
        return clip([0, 1 + i % 5, 3], seed=i)


def test_objects_of_a_chunk_are_those_seen_until_its_end() -> None:
    batch = collate([clip([4, 0, 2, 0]), clip([])], 8)
    chunks = chunks_of(batch, 2)
    assert [c.frames.shape[1] for c in chunks] == [2, 2, 2]
    torch.testing.assert_close(torch.cat([c.frames for c in chunks], 1), batch.frames)
    # in the order of their appearance: 1, 3, 2, 0
    assert [c.targets[0].labels.tolist() for c in chunks] == [[1, 0], [1, 0, 2], [1, 0, 2, 0]]
    order = torch.tensor([1, 3, 2, 0])
    for k, chunk in enumerate(chunks):
        target, seen = chunk.targets[0], len(chunk.targets[0].labels)
        frames = slice(2 * k, 2 * k + 2)
        assert torch.equal(target.masks, batch.targets[0].masks[order[:seen], frames])
        assert torch.equal(target.present, batch.targets[0].present[order[:seen], frames])
        assert chunk.targets[1].labels.shape == (0,)
    assert [c.frames.shape[1] for c in chunks_of(batch, 4)] == [4, 2]
    assert chunks_of(batch, None) == [batch]


def model_and_chunks(tiny, chunk: int, variant: str = "gru") -> tuple[TrainingModel, list]:
    model = tiny.model(variant)
    trained = TrainingModel(model, "first_appearance", tiny.settings().losses).train()
    return trained, chunks_of(collate([clip([0, 3]), clip([2], seed=1)], 8), chunk)


def test_an_object_keeps_its_query_and_a_new_one_gets_another(tiny) -> None:
    trained, chunks = model_and_chunks(tiny, 2)
    held = []
    for k, chunk in enumerate(chunks):
        trained(chunk, Share(continued=k > 0))
        held.append([q.clone() for q in trained.carried.queries])
    assert [[q.shape[1] for q in clips] for clips in held] == [[1, 0], [2, 1], [2, 1]]
    for earlier, later in pairwise(held):
        for a, b in zip(earlier, later, strict=True):
            assert torch.equal(a, b[:, : a.shape[1]])
    first, second = held[-1][0].T
    assert (first != second).all()
    assert (held[-1][0] >= 0).all()


def test_a_query_that_an_object_holds_is_not_given_away(tiny) -> None:
    """A new object like the old one, whose best query is the one that is held."""
    trained, _ = model_and_chunks(tiny, 2)
    once, twice = clip([0]), clip([0])
    twice.labels, twice.masks, twice.present = (
        x.repeat(2, *[1] * (x.dim() - 1)) for x in (once.labels, once.masks, once.present)
    )
    output, _ = trained.model(collate([twice], 8).frames)
    settings = tiny.settings().losses
    layers = LayerPredictions.of(output)
    (best,) = match(layers, collate([once], 8).targets, "first_appearance", settings)
    (found,) = match(
        layers, collate([twice], 8).targets, "first_appearance", settings, held=[best[..., 0]]
    )
    assert torch.equal(found[:, 0], best[:, 0])
    assert (found[:, 1] >= 0).all()
    assert (found[:, 1] != found[:, 0]).all()


def test_a_chunk_goes_on_from_the_state_before_and_no_gradient_goes_back(tiny) -> None:
    trained, chunks = model_and_chunks(tiny, 3)
    whole, _ = trained.model(torch.cat([c.frames for c in chunks], 1))
    seen = []
    trained.model.register_forward_hook(lambda m, a, output: seen.append(output[0]))
    frames = [c.frames.clone().requires_grad_() for c in chunks]
    losses = [
        sum(trained(ClipBatch(x, c.targets), Share(continued=k > 0)).values())
        for k, (x, c) in enumerate(zip(frames, chunks, strict=True))
    ]
    logits = torch.cat([output.class_logits for output in seen], 1)
    torch.testing.assert_close(logits, whole.class_logits, atol=1e-5, rtol=0)
    earlier, own = torch.autograd.grad(losses[1], frames, allow_unused=True)
    assert earlier is None
    assert own.abs().max() > 0
    trained(chunks[0])
    again = seen[-1].class_logits
    torch.testing.assert_close(again, whole.class_logits[:, :3], atol=1e-5, rtol=0)


def test_one_chunk_is_the_clip(tiny) -> None:
    """Bit by bit, where objects are in the order of their appearance already."""
    trained, (chunk,) = model_and_chunks(tiny, FRAMES)
    torch.manual_seed(3)
    expected = trained(collate([clip([0, 3]), clip([2], seed=1)], 8))
    torch.manual_seed(3)
    found = trained(chunk, Share(continued=False))
    assert {k: float(v) for k, v in found.items()} == {k: float(v) for k, v in expected.items()}


def test_chunks_are_micro_batches_of_one_step() -> None:
    """Their totals are those of all chunks: objects until then, in all frames of the chunk."""
    batch = collate([clip([0, 3]), clip([2], seed=1)], 8)
    sharing = Sharing(StreamSampler(2), 1, False, 0, HostGroup(), 2, 3)
    steps = sharing.step(0, [batch])
    assert [share.continued for _, share in steps] == [False, True, True]
    pairs = 2 * (1 + 0) + 2 * (2 + 1) + 2 * (2 + 1)
    assert {share.totals["first_appearance"] for _, share in steps} == {pairs / 3}


@pytest.mark.parametrize("per_device", [None, 1])
def test_a_training_in_chunks_learns_and_resumes(tiny, tmp_path: Path, per_device) -> None:
    settings = tiny.settings(chunk=2, per_device=per_device)
    whole = train(tiny.model("gru"), Clips(), settings, tmp_path / "whole", seed=0)
    lines = [json.loads(line) for line in (tmp_path / "whole" / LOSSES).open()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < lines[0]["loss"]

    class Ending(Clips):
        def __getitem__(self, i: int) -> Clip:
            if i >= 14:
                raise KeyboardInterrupt
            return super().__getitem__(i)

    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(tiny.model("gru"), Ending(), settings, broken, seed=0)
    resumed = train(tiny.model("gru"), Clips(), settings, broken, seed=0)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def kept_for_backward(tiny, frames: int, chunk: int | None) -> int:
    """The most bytes that are held for the backward pass at once in a step."""
    trained = TrainingModel(tiny.model("gru"), "first_appearance", tiny.settings().losses).train()
    now, most = 0, 0
    parameters = {p.data_ptr() for p in trained.parameters()}

    def pack(x: Tensor) -> Tensor:
        nonlocal now, most
        storage = x.untyped_storage()
        if x.data_ptr() not in parameters and id(storage) not in held:
            held.add(id(storage))
            size = storage.nbytes()
            now, most = now + size, max(most, now + size)
            weakref.finalize(storage, release, id(storage), size)
        return x

    held: set[int] = set()

    def release(key: int, size: int) -> None:
        nonlocal now
        held.discard(key)
        now -= size

    batch = collate([clip([0, 3], frames=frames)], 8)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        for k, piece in enumerate(chunks_of(batch, chunk)):
            sum(trained(piece, Share(continued=k > 0)).values()).backward()
    return most


def test_memory_grows_with_a_chunk_and_not_with_the_clip(tiny) -> None:
    short, long = (kept_for_backward(tiny, frames, 5) for frames in (10, 30))
    assert long == pytest.approx(short, rel=0.1)
    assert kept_for_backward(tiny, 30, None) > 4 * short


def test_a_chunk_of_no_frames(tiny) -> None:
    with pytest.raises(BenchError, match="chunk is 0"):
        tiny.settings(chunk=0)
    assert replace(tiny.settings(), chunk=3).chunk == 3


def test_targets_keep_their_type() -> None:
    (piece,) = chunks_of(collate([clip([1])], 8), 100)
    assert isinstance(piece.targets[0], ClipTargets)
