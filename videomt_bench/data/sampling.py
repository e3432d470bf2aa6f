"""Which frames of a video form a training clip."""

from __future__ import annotations

import numpy as np

from videomt_bench.errors import BenchError


def consecutive_frames(
    length: int,
    clip: int,
    rng: np.random.Generator,
    include_last: bool = True,
    ordered: bool = True,
) -> np.ndarray:
    """Indices int64 (clip,) of a random window of consecutive frames (VidEoMT's online stage).

    A video shorter than the clip gives all its frames and random repeats.

    Args:
        length: frames of the video.
        clip: frames of the clip.
        rng: the only source of randomness.
        include_last: ``False`` reproduces the official code, which never draws the last window of
            a video longer than the clip.
        ordered: ``False`` reproduces the official code, which leaves the repeats of a short video
            at the end, unsorted.

    Raises:
        BenchError: ``length`` or ``clip`` below 1.
    """
    if length < 1 or clip < 1:
        raise BenchError(f"cannot draw a clip of {clip} frames from {length}; both must be >= 1")
    if length > clip:
        start = int(rng.integers(length - clip + include_last))
        return np.arange(start, start + clip)
    repeats = rng.integers(length, size=clip - length)
    frames = np.concatenate((np.arange(length), repeats))
    return np.sort(frames) if ordered else frames


def reference_frames(length: int, clip: int, rng: np.random.Generator, span: int) -> np.ndarray:
    """Indices int64 (clip,), ascending: a random frame and draws from its neighbourhood (MinVIS).

    The other frames are drawn, with replacement, from those up to ``span`` before or after the
    reference frame, itself left out. A frame without neighbours is repeated.

    Raises:
        BenchError: ``length`` or ``clip`` below 1, or a negative ``span``.
    """
    if length < 1 or clip < 1 or span < 0:
        raise BenchError(
            f"cannot draw a clip of {clip} frames from {length} within {span} of a reference "
            "frame; valid: at least 1, at least 1, at least 0"
        )
    reference = int(rng.integers(length))
    near = np.arange(max(0, reference - span), min(length, reference + span + 1))
    others = near[near != reference] if len(near) > 1 else near
    drawn = rng.choice(others, clip - 1)
    return np.sort(np.append(drawn, reference))
