"""A training that is killed and started again is the training that nobody killed."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.training import hooks
from videomt_bench.training.engine import train
from videomt_bench.training.hooks import CHECKPOINT, LOSSES


def same(model, other) -> bool:
    a, b = model.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def files(folder: Path) -> set[str]:
    """Without those that mmengine keeps for itself."""
    return {path.name for path in folder.iterdir()} - {"engine"}


@pytest.fixture(scope="module")
def unbroken(tiny, tmp_path_factory):
    """A model trained in one go, and its log of losses."""
    model, folder = tiny.model(), tmp_path_factory.mktemp("unbroken")
    train(model, tiny.Clips(), tiny.settings(), folder, seed=0)
    return model, (folder / LOSSES).read_text()


@pytest.fixture(scope="module")
def ended_early(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(tiny.Stop):
        train(tiny.model(), tiny.Clips(stop=16), tiny.settings(), folder, seed=0)
    assert iteration(folder) == 6
    return folder


@pytest.fixture
def interrupted(ended_early, tmp_path):
    """The folder of a training that ended in its ninth iteration, two after a checkpoint."""
    return Path(shutil.copytree(ended_early, tmp_path / "interrupted"))


def iteration(folder: Path) -> int:
    return torch.load(folder / CHECKPOINT, weights_only=True)["meta"]["iter"]


def train_and_kill(script: str, folder: Path) -> float:
    """Train in another process and kill it a random time after its first checkpoint.

    A clip takes it 30 ms more, so that there is time to be killed in.
    """
    arguments = [sys.executable, script, str(folder), "0.03"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE)
    limit = time.monotonic() + 120
    while not (folder / CHECKPOINT).is_file():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.005)
    delay = random.uniform(0.0, 0.5)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert iteration(folder) in (3, 6, 9)
    return delay


def test_killed_at_a_random_moment(tiny, tmp_path, unbroken):
    """Bit for bit the same weights and losses, and nothing left behind."""
    model, log = unbroken
    folder = tmp_path / "killed"
    delay = train_and_kill(tiny.script, folder)
    again = tiny.model()
    train(again, tiny.Clips(), tiny.settings(), folder, seed=0)
    assert same(again, model), delay
    assert (folder / LOSSES).read_text() == log, delay
    assert files(folder) == {CHECKPOINT, LOSSES}, delay


def test_it_continues_at_the_sample_after_the_checkpoint(tiny, unbroken, interrupted):
    model, log = unbroken
    clips, again = tiny.Clips(), tiny.model()
    lines = (interrupted / LOSSES).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))
    train(again, clips, tiny.settings(), interrupted, seed=0)
    assert clips.read == list(range(12, 24))
    assert same(again, model)
    assert (interrupted / LOSSES).read_text() == log


def test_it_continues_from_other_weights_all_the_same(tiny, unbroken, interrupted):
    """Everything comes from the checkpoint: weights, moments of AdamW, iteration."""
    again = tiny.model()
    for parameter in again.parameters():
        torch.nn.init.normal_(parameter)
    train(again, tiny.Clips(), tiny.settings(), interrupted, seed=0)
    assert same(again, unbroken[0])


def test_it_continues_with_loader_workers(tiny, unbroken, interrupted):
    again = tiny.model()
    train(again, tiny.Clips(), tiny.settings(workers=1), interrupted, seed=0)
    assert same(again, unbroken[0])


@pytest.mark.parametrize(("before", "after"), [(None, 1), (1, None)])
def test_it_continues_with_another_accumulation(tiny, tmp_path, before, after):
    """The checkpoint counts optimizer steps: no sample is left out, none is taken twice."""
    with pytest.raises(tiny.Stop):
        train(tiny.model(), tiny.Clips(stop=16), tiny.settings(per_device=before), tmp_path, 0)
    clips = tiny.Clips()
    train(tiny.model(), clips, tiny.settings(per_device=after), tmp_path, 0)
    assert clips.read == list(range(12, 24))
    steps = [json.loads(line)["step"] for line in (tmp_path / LOSSES).open()]
    assert steps == list(range(1, 13))


def test_killed_between_writing_and_replacing(tiny, tmp_path, unbroken, monkeypatch):
    """The old checkpoint stands, and what was written goes."""
    calls = []
    replace = os.replace

    def last(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise tiny.Stop
        replace(source, target)

    monkeypatch.setattr(hooks.os, "replace", last)
    with pytest.raises(tiny.Stop):
        train(tiny.model(), tiny.Clips(), tiny.settings(), tmp_path / "k", seed=0)
    monkeypatch.undo()
    assert iteration(tmp_path / "k") == 3
    (unfinished,) = (tmp_path / "k").glob(f".{CHECKPOINT}.*")
    unfinished.rename(unfinished.with_suffix(".1"))  # another process, another name
    again = tiny.model()
    train(again, tiny.Clips(stop=24), tiny.settings(), tmp_path / "k", seed=0)
    assert same(again, unbroken[0])
    assert files(tmp_path / "k") == {CHECKPOINT, LOSSES}


def test_a_half_written_line_of_the_log_goes(tiny, unbroken, interrupted):
    with (interrupted / LOSSES).open("a") as file:
        file.write('{"step": 9, "loss": 3')
    train(tiny.model(), tiny.Clips(), tiny.settings(), interrupted, seed=0)
    assert (interrupted / LOSSES).read_text() == unbroken[1]


def test_a_log_without_a_checkpoint_is_begun_anew(tiny, unbroken, interrupted):
    (interrupted / CHECKPOINT).unlink()
    again = tiny.model()
    train(again, tiny.Clips(), tiny.settings(), interrupted, seed=0)
    assert same(again, unbroken[0])
    assert (interrupted / LOSSES).read_text() == unbroken[1]


def test_a_full_disk_is_one_sentence(tiny, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hooks.os, "replace", full)
    with pytest.raises(BenchError, match=r"cannot write .*No space left on device"):
        train(tiny.model(), tiny.Clips(), tiny.settings(), tmp_path, seed=0)
    assert files(tmp_path) == {LOSSES}


def test_a_checkpoint_is_only_data(interrupted):
    checkpoint = torch.load(interrupted / CHECKPOINT, weights_only=True)
    assert {"meta", "state_dict", "optimizer"} <= checkpoint.keys()
    assert checkpoint["optimizer"]["state"]


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def damaged(data: bytes) -> dict[str, bytes]:
    middle = len(data) // 2
    return {
        "half": data[:middle],
        "without its end": data[:-100],
        "empty": b"",
        "text": b"no checkpoint\n" * 100,
        "beginning overwritten": bytes(1000) + data[1000:],
        "number in the middle": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
        "a pickle that does something": pickle.dumps({"state_dict": Bomb()}),
    }


@pytest.mark.parametrize("damage", damaged(bytes(9)))
def test_a_damaged_checkpoint_is_one_sentence(tiny, interrupted, damage, monkeypatch):
    monkeypatch.chdir(interrupted)
    file = interrupted / CHECKPOINT
    file.write_bytes(damaged(file.read_bytes())[damage])
    refuses(tiny, interrupted)
    assert not Path("exploded").exists()


def refuses(tiny, folder: Path, **changes) -> None:
    with pytest.raises(BenchError) as caught:
        train(tiny.model(**changes), tiny.Clips(), tiny.settings(), folder, seed=0)
    text = str(caught.value)
    assert text.startswith(f"cannot continue from {folder / CHECKPOINT}: ")
    assert text.endswith("; remove the file to train anew")
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("part", ["meta", "state_dict", "optimizer", "everything", "a weight"])
def test_a_checkpoint_that_lacks_something(tiny, interrupted, part):
    checkpoint = torch.load(interrupted / CHECKPOINT, weights_only=True)
    if part == "everything":
        checkpoint = {}
    elif part == "a weight":
        checkpoint["state_dict"].popitem()
    else:
        del checkpoint[part]
    torch.save(checkpoint, interrupted / CHECKPOINT)
    refuses(tiny, interrupted)


def test_a_checkpoint_of_another_model(tiny, interrupted):
    refuses(tiny, interrupted, variant="step4_frame_by_frame")
