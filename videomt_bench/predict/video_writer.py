"""Frames into an H.264 file that any player opens, also while it is written and after a crash."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from videomt_bench.errors import BenchError

CLOCK = 90_000
"""Ticks per second: whole numbers of them for all usual frame rates."""
CODEC = "libx264"
OPTIONS = {"preset": "veryfast", "crf": "20"}
KEYFRAME_SECONDS = 2
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
BT709, LIMITED = 1, 1
"""Colour as FFmpeg numbers it: what players take for granted."""


class VideoWriter:
    """An MP4 file of one size, yuv420p, each frame at its own time.

    While it is written the file consists of fragments, so what is there can be played; at the end
    it is written anew with its index in front, so that playing starts before all is loaded.

    Args:
        path: the file, replaced.
        size: height and width of the frames; odd ones get their last row or column twice.
        rate: frames per second, for the duration of the last frame.

    Raises:
        BenchError: the file cannot be written, or there is no encoder.
    """

    def __init__(self, path: Path, size: tuple[int, ...], rate: float) -> None:
        if CODEC not in av.codecs_available:
            raise BenchError(f"this build of PyAV has no encoder {CODEC}; use --no-video")
        self.path = path
        self.size = size
        self._tick = max(1, round(CLOCK / rate))
        self._last = -self._tick
        options = {"movflags": FRAGMENTS, "flush_packets": "1"}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        self._stream = self._add_stream(Fraction(rate).limit_denominator(1001))
        try:
            self._container.start_encoding()
        except (av.error.FFmpegError, OSError) as error:
            raise _unwritable(path, error) from None

    def write(self, pixels: np.ndarray, time: float) -> None:
        """One frame RGB uint8 (H, W, 3) at its time in seconds; later than the one before.

        Raises:
            BenchError: another size, or the disk is full.
        """
        height, width = self.size
        if pixels.shape != (height, width, 3):
            raise BenchError(f"a frame {pixels.shape} does not fit a video of {height} x {width}")
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
        self._last = max(self._last + 1, round(time * CLOCK))
        frame.pts, frame.time_base = self._last, Fraction(1, CLOCK)
        frame.duration = self._tick
        self._mux(frame)

    def close(self) -> None:
        """Write what the encoder still holds, and put the index in front.

        Raises:
            BenchError: the disk is full.
        """
        try:
            self._mux(None)
        finally:
            self._container.close()
        index_first(self.path)

    def _add_stream(self, rate: Fraction) -> Any:
        stream: Any = self._container.add_stream(CODEC, rate=rate, options=OPTIONS)
        stream.height, stream.width = (side + side % 2 for side in self.size)
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, CLOCK)
        context = stream.codec_context
        context.time_base = Fraction(1, CLOCK)
        context.gop_size = max(1, round(rate * KEYFRAME_SECONDS))
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        return stream

    def _mux(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise _unwritable(self.path, error) from None


def index_first(path: Path) -> None:
    """Write an MP4 file anew, not its pictures, with the index in front of them.

    Raises:
        BenchError: the disk is full; the file stays as it was.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        with (
            av.open(str(path)) as source,
            av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        os.replace(temporary, path)
    except (av.error.FFmpegError, OSError) as error:
        raise _unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: Exception) -> BenchError:
    return BenchError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")
