"""Frames of a video file of any codec that FFmpeg reads, upright and with their times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.predict.source import Source, SourceFrame, check_size

DEFAULT_RATE = 25.0
"""Frames per second where a file says nothing."""
WHOLE = 0.95
"""A file with less than this of its frames and of its duration is cut off."""


def open_video(path: Path) -> Source:
    """The frames of the first video stream, turned as the file says; each has its own time.

    Raises:
        BenchError: not a video file, or one without pictures.
    """
    container = _open(path)
    # a picture of an album is a stream with one frame, beside the sound
    streams = [s for s in container.streams.video if not _is_cover(s)]
    if not streams:
        container.close()
        raise BenchError(f"{path} has no video stream")
    stream = streams[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
    seconds = None if container.duration is None else container.duration / av.time_base
    length = stream.frames or (None if seconds is None else max(1, round(seconds * rate)))
    return Source(path.stem, rate, length, _decoded(path, container, stream, rate, seconds))


def _open(path: Path) -> Any:
    try:
        # nothing that a file names is fetched from elsewhere
        return av.open(str(path), container_options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"{path} cannot be read as a video: {reason}") from None


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & stream.disposition.attached_pic)


def _decoded(
    path: Path, container: Any, stream: Any, rate: float, seconds: float | None
) -> Iterator[SourceFrame]:
    first: SourceFrame | None = None
    start, time, count = 0.0, -1.0 / rate, 0
    try:
        for decoded in container.decode(stream):
            if first is None:
                start = decoded.time or 0.0
            # a frame without a time, or with one that goes back, follows at the usual distance
            earlier, time = time, time + 1 / rate
            if decoded.time is not None and decoded.time - start > earlier:
                time = decoded.time - start
            pixels = upright(decoded)
            check_size(first, pixels, f"frame {count} of {path}")
            frame = SourceFrame(count, f"{count:06d}", time, pixels)
            first = first or frame
            count += 1
            yield frame
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"{path} cannot be decoded after {count} frames: {reason}") from None
    finally:
        container.close()
    # the last frame stays as long as others do
    end = time + max(1 / rate, time / max(count - 1, 1))
    _check_whole(path, stream.frames, count, seconds, end)


def upright(decoded: Any) -> np.ndarray:
    """A decoded frame as RGB uint8 (H, W, 3), turned as its display matrix says."""
    pixels = decoded.to_ndarray(format="rgb24")
    # degrees against the clock, as rot90 has it
    quarters = round(decoded.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def _check_whole(path: Path, named: int, count: int, seconds: float | None, end: float) -> None:
    """FFmpeg takes a file that is cut off for one that ends there; its header says otherwise."""
    if count == 0:
        raise BenchError(f"{path} has a video stream, but no frame of it can be decoded")
    if count < WHOLE * named and seconds is not None and end < WHOLE * seconds:
        raise BenchError(f"{path} is cut off: it ends after {count} of its {named} frames")
