from __future__ import annotations

import numpy as np
import pytest

from videomt_bench.data.sampling import consecutive_frames, reference_frames
from videomt_bench.errors import BenchError


def starts(length: int, clip: int, **options: bool) -> set[int]:
    rng = np.random.default_rng(0)
    clips = [consecutive_frames(length, clip, rng, **options) for _ in range(400)]
    assert all(np.array_equal(c, np.arange(c[0], c[0] + clip)) for c in clips)
    return {int(c[0]) for c in clips}


def test_every_window_is_reached() -> None:
    assert starts(9, 5) == {0, 1, 2, 3, 4}
    assert starts(4, 1) == {0, 1, 2, 3}


def test_the_official_code_never_draws_the_last_window() -> None:
    assert starts(9, 5, include_last=False) == {0, 1, 2, 3}
    assert starts(6, 5, include_last=False) == {0}


def test_a_video_as_long_as_the_clip() -> None:
    assert starts(5, 5) == starts(5, 5, include_last=False) == {0}


def test_a_shorter_video_gives_all_frames_and_repeats() -> None:
    rng = np.random.default_rng(0)
    clips = np.stack([consecutive_frames(3, 5, rng) for _ in range(200)])
    assert clips.shape == (200, 5)
    assert all(set(c) == {0, 1, 2} for c in clips)
    assert (np.diff(clips) >= 0).all()
    assert len({tuple(c) for c in clips}) == 6  # every multiset of two repeats


def test_the_official_repeats_stay_at_the_end() -> None:
    rng = np.random.default_rng(0)
    clips = np.stack([consecutive_frames(3, 5, rng, ordered=False) for _ in range(200)])
    assert (clips[:, :3] == [0, 1, 2]).all()
    assert (clips[:, 3] > clips[:, 4]).any()


def test_deterministic() -> None:
    one, two = (consecutive_frames(90, 5, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize(("length", "clip"), [(0, 5), (5, 0)])
def test_nothing_to_draw(length: int, clip: int) -> None:
    with pytest.raises(BenchError, match=f"{clip} frames from {length}"):
        consecutive_frames(length, clip, np.random.default_rng(0))


def near(length: int, clip: int, span: int, n: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([reference_frames(length, clip, rng, span) for _ in range(n)])


def test_reference_frames_are_sorted_and_near() -> None:
    clips = near(50, 3, span=4)
    assert (np.diff(clips) >= 0).all()
    assert (clips[:, -1] - clips[:, 0]).max() == 8  # one before, one after the reference frame
    assert set(clips.ravel()) == set(range(50))
    pairs = near(50, 2, span=4)
    assert set((pairs[:, 1] - pairs[:, 0]).tolist()) == {1, 2, 3, 4}  # never itself


def test_reference_frames_with_replacement() -> None:
    clips = near(2, 5, span=20)
    assert {tuple(c) for c in clips} == {(0, 1, 1, 1, 1), (0, 0, 0, 0, 1)}
    assert near(6, 1, span=3).shape == (400, 1)
    assert set(near(6, 1, span=3).ravel()) == set(range(6))


def test_a_frame_without_neighbours_is_repeated() -> None:
    assert (near(1, 4, span=20) == 0).all()
    assert (np.ptp(near(5, 3, span=0), axis=1) == 0).all()


@pytest.mark.parametrize(("length", "clip", "span"), [(0, 5, 2), (5, 0, 2), (5, 5, -1)])
def test_no_reference_to_draw(length: int, clip: int, span: int) -> None:
    with pytest.raises(BenchError, match=f"{clip} frames from {length} within {span}"):
        reference_frames(length, clip, np.random.default_rng(0), span)
