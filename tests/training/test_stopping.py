"""A process that is asked to end saves first, between two iterations."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from videomt_bench.training.engine import train
from videomt_bench.training.hooks import CHECKPOINT
from videomt_bench.training.stopping import Preempted, heeding_signals, raise_if_requested


class AskedToEnd:
    """Clips that send a signal to this process when sample ``at`` is read."""

    def __init__(self, clips: Any, at: int, *numbers: int) -> None:
        self.clips, self.at, self.numbers = clips, at, numbers

    def __getitem__(self, sample: int) -> Any:
        if sample == self.at:
            for number in self.numbers:
                signal.raise_signal(number)
        return self.clips[sample]


def iteration(folder: Path) -> int:
    return torch.load(folder / CHECKPOINT, weights_only=True)["meta"]["iter"]


@pytest.mark.parametrize("per_device", [2, 1])
def test_it_saves_after_the_iteration_and_continues(tiny, tmp_path, per_device) -> None:
    """Also where an optimizer step takes several micro-steps."""
    settings = tiny.settings(batch=2, per_device=per_device, checkpoint_interval=100)
    whole = train(tiny.model(), tiny.Clips(), settings, tmp_path / "whole", seed=0)
    folder = tmp_path / "pieces"
    clips = AskedToEnd(tiny.Clips(), 6, signal.SIGUSR2)
    with heeding_signals(), pytest.raises(Preempted) as stopped:
        train(tiny.model(), clips, settings, folder, seed=0)
    assert stopped.value.number == signal.SIGUSR2
    assert iteration(folder) == 4
    with heeding_signals():
        model = train(tiny.model(), tiny.Clips(), settings, folder, seed=0)
    ours, theirs = model.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_in_its_last_iteration_it_ends(tiny, tmp_path) -> None:
    """The weights can be kept; what comes after must not begin."""
    settings = tiny.settings(iterations=3, batch=2)
    with heeding_signals():
        clips = AskedToEnd(tiny.Clips(), 4, signal.SIGUSR2)
        train(tiny.model(), clips, settings, tmp_path, seed=0)
        with pytest.raises(Preempted):
            raise_if_requested()


def test_a_warning_of_slurm_outranks_what_comes_with_it(tiny, tmp_path) -> None:
    """A preemption may send SIGTERM as well, in any order; only SIGUSR2 queues a job again."""
    for numbers in ((signal.SIGTERM, signal.SIGUSR2), (signal.SIGUSR2, signal.SIGTERM)):
        clips = AskedToEnd(tiny.Clips(), 2, *numbers)
        with heeding_signals(), pytest.raises(Preempted) as stopped:
            train(tiny.model(), clips, tiny.settings(batch=2), tmp_path / str(numbers[0]), seed=0)
        assert stopped.value.number == signal.SIGUSR2


def test_elsewhere_it_ends_at_once() -> None:
    with heeding_signals(), pytest.raises(Preempted, match="received SIGTERM"):
        signal.raise_signal(signal.SIGTERM)
    before = signal.getsignal(signal.SIGTERM)
    with heeding_signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
