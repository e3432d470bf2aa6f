from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from videomt_bench.data.augment import Augmentation
from videomt_bench.data.clips import Clip, TrainClips, collate
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.mixture import BLOCK, MixedClips
from videomt_bench.data.ytvis import YTVISIndex, locate_ytvis, read_ytvis
from videomt_bench.errors import BenchError


@pytest.fixture(scope="module")
def indices(tmp_path_factory: pytest.TempPathFactory) -> list[YTVISIndex]:
    """Two data sets whose frames have different widths."""
    found = []
    for width, videos in ((24, 5), (32, 3)):
        root = tmp_path_factory.mktemp(f"w{width}")
        make_ytvis(root, GeneratorSettings(videos, 4, 16, width, seed=width))
        found.append(read_ytvis(*locate_ytvis(root, "train")))
    return found


def streams(indices: list[YTVISIndex], length: int = 2) -> list[TrainClips]:
    return [TrainClips(index, length, Augmentation(flip=0.5), seed=1) for index in indices]


def same(one: Clip, two: Clip) -> bool:
    pairs = zip(vars(one).values(), vars(two).values(), strict=True)
    return all(a == b if isinstance(a, str) else torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("ratios", "share"), [((1, 1), 0.5), ((1, 3), 0.75), ((0.8, 0.2), 0.2)])
def test_ratios(indices: list[YTVISIndex], ratios: tuple[float, float], share: float) -> None:
    mixed = MixedClips(streams(indices), ratios, seed=0)
    drawn = np.array([mixed.locate(i)[0] for i in range(3000)])
    assert abs(drawn.mean() - share) < 4 * np.sqrt(share * (1 - share) / 3000)
    # in random order, not in turn
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.08


def test_every_stream_is_read_without_gaps(indices: list[YTVISIndex]) -> None:
    mixed = MixedClips(streams(indices), (2, 1), seed=3)
    samples = range(2 * BLOCK + 50)
    located = [mixed.locate(i) for i in samples]
    for stream in (0, 1):
        positions = [position for s, position in located if s == stream]
        assert positions == list(range(len(positions)))
    blocks = [[s for s, _ in located[k : k + 50]] for k in (0, BLOCK, 2 * BLOCK)]
    assert blocks[0] != blocks[1] != blocks[2]
    # from anywhere, in any order
    again = MixedClips(streams(indices), (2, 1), seed=3)
    for i in (2 * BLOCK + 49, 0, BLOCK, BLOCK - 1, 2 * BLOCK, 5):
        assert again.locate(i) == located[i]


def test_samples_are_those_of_the_streams(indices: list[YTVISIndex]) -> None:
    parts = streams(indices)
    mixed = MixedClips(parts, (1, 1), seed=0)
    assert len(mixed) == 8
    widths = set()
    for i in range(10):
        stream, position = mixed.locate(i)
        clip = mixed[i]
        assert same(clip, parts[stream][position])
        assert clip.frames.shape[-1] == (24, 32)[stream]
        widths.add(clip.frames.shape[-1])
    assert widths == {24, 32}


def test_a_sample_depends_on_seed_and_number_alone(indices: list[YTVISIndex]) -> None:
    one, two = (MixedClips(streams(indices), (1, 1), seed=4) for _ in range(2))
    clips = [one[i] for i in range(12)]
    assert all(same(clips[i], two[i]) for i in reversed(range(12)))
    other = MixedClips(streams(indices), (1, 1), seed=5)
    assert [one.locate(i) for i in range(40)] != [other.locate(i) for i in range(40)]
    with pytest.raises(IndexError):
        one[-1]


def test_works_in_a_data_loader(indices: list[YTVISIndex]) -> None:
    mixed = MixedClips(streams(indices), (1, 1), seed=4)
    batches = [[0, 1, 2], [BLOCK + 1, 7, 3]]
    loader = DataLoader(
        mixed, batch_sampler=batches, collate_fn=lambda c: collate(c, 16), num_workers=1
    )
    for batch, numbers in zip(loader, batches, strict=True):
        expected = collate([mixed[i] for i in numbers], 16)
        assert torch.equal(batch.frames, expected.frames)


def test_what_cannot_be_mixed(indices: list[YTVISIndex], tmp_path: Path) -> None:
    parts = streams(indices)
    for some, ratios in ((parts, [1]), ([], [])):
        with pytest.raises(BenchError, match="cannot mix"):
            MixedClips(some, ratios, 0)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BenchError, match="valid: positive numbers"):
            MixedClips(parts, [1, bad], 0)
    with pytest.raises(BenchError, match="seed -1"):
        MixedClips(parts, [1, 1], -1)
    with pytest.raises(BenchError, match="clips of 2 and of 3 frames"):
        MixedClips([parts[0], streams(indices, 3)[1]], [1, 1], 0)
    index = indices[1]
    fewer = YTVISIndex(
        tmp_path / "x.json", index.frames_root, index.categories[:2], index.videos, True
    )
    with pytest.raises(BenchError, match=r"x\.json.*other ids"):
        MixedClips([parts[0], streams([fewer])[0]], [1, 1], 0)
