"""Losses and gradients that are no numbers: what the message says, and what is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.training import engine
from videomt_bench.training.engine import train
from videomt_bench.training.hooks import CHECKPOINT
from videomt_bench.training.losses import clip_losses


class NamedClips(torch.utils.data.Dataset):
    """Clips with a name; no number in a frame of clip ``bad`` can be what it is."""

    def __init__(self, clips) -> None:
        self.clips = clips

    def __getitem__(self, i: int):
        return replace(self.clips[i], origin=f"video 'v{i}', frames 3, 4, 5")

    def __len__(self) -> int:
        return len(self.clips)


def poison(monkeypatch, tiny, call: int) -> None:
    """The second clip of one batch has a pixel that is no number."""
    calls = []
    collate = engine.collate

    def poisoned(clips, divisor):
        calls.append(1)
        batch = collate(clips, divisor)
        if len(calls) == call:
            batch.frames[1, 0, 0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(engine, "collate", poisoned)


def message(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("call", "kept"), [(5, 3), (2, None)])
def test_which_video_which_term_which_iteration(tiny, tmp_path, monkeypatch, call, kept):
    """Of two clips the one whose features are no numbers; the last checkpoint is named."""
    poison(monkeypatch, tiny, call)
    with pytest.raises(BenchError) as caught:
        train(tiny.model(), NamedClips(tiny.Clips(objects=2)), tiny.settings(), tmp_path, seed=0)
    text = message(caught)
    assert f"not a finite number at iteration {call}: loss_class is nan" in text
    assert f"of video 'v{2 * call - 1}', frames 3, 4, 5;" in text
    assert f"'v{2 * call - 2}'" not in text
    if kept is None:
        assert text.endswith("there is no checkpoint yet")
        assert not (tmp_path / CHECKPOINT).exists()
    else:
        file = tmp_path / CHECKPOINT
        assert text.endswith(f"the last good checkpoint, of iteration {kept}, is {file}")
        assert torch.load(file, weights_only=True)["meta"]["iter"] == kept


def test_a_term_of_all_clips(tiny, tmp_path, monkeypatch):
    """Outputs are numbers and a loss is not: all clips are named, and the terms that are fine."""

    def losses(*arguments):
        result = clip_losses(*arguments)
        return {**result, "loss_dice": result["loss_dice"] * float("inf")}

    monkeypatch.setattr(engine, "clip_losses", losses)
    with pytest.raises(BenchError) as caught:
        train(tiny.model(), NamedClips(tiny.Clips(objects=2)), tiny.settings(), tmp_path, seed=0)
    text = message(caught)
    assert "iteration 1: loss_dice is inf (loss_class, loss_mask finite), of video 'v0'" in text
    assert "video 'v1'" in text


def test_every_iteration_is_looked_at(tiny, tmp_path, monkeypatch):
    """Also one that is neither logged nor reported: of 1000 iterations each fifth is."""
    poison(monkeypatch, tiny, 3)
    monkeypatch.setattr(engine.ProgressHook, "after_train_iter", lambda *a, **k: None)
    settings = tiny.settings(iterations=1000)
    with pytest.raises(BenchError, match="at iteration 3:"):
        train(tiny.model(), NamedClips(tiny.Clips(objects=2)), settings, tmp_path, seed=0)


def test_gradients_that_are_no_numbers(tiny, tmp_path, monkeypatch):
    """Losses are finite: all clips of the step are named, from all of its micro-batches."""
    calls = []

    def losses(output, *arguments):
        calls.append(1)
        result = clip_losses(output, *arguments)
        if len(calls) == 7:
            zero = (output.mask_logits * 0).sum()
            result["loss_mask"] = result["loss_mask"] + zero.sqrt()
        return result

    monkeypatch.setattr(engine, "clip_losses", losses)
    settings = tiny.settings(per_device=1)
    with pytest.raises(BenchError) as caught:
        train(tiny.model(), NamedClips(tiny.Clips(objects=2)), settings, tmp_path, seed=0)
    text = message(caught)
    assert "the gradients are not finite numbers at iteration 4: all losses are finite" in text
    assert "video 'v6'" in text
    assert "video 'v7'" in text
    assert "iteration 3, is" in text
