"""Frames of a camera, through OpenCV: V4L2 on Linux, AVFoundation on macOS, DirectShow or Media
Foundation on Windows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cv2

from videomt_bench.errors import BenchError
from videomt_bench.predict.source import Source, SourceFrame, check_size

DEFAULT_RATE = 25.0
"""Frames per second where a driver says nothing."""


def open_camera(index: int) -> Source:
    """An endless source; each frame has the time at which it came.

    Raises:
        BenchError: there is no such camera, or it cannot be opened.
    """
    logging: Any = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(index)
    finally:
        logging.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        raise BenchError(f"camera {index} cannot be opened; valid: the number of a camera, from 0")
    # where the model is slower than the camera, the newest frame is the one to have
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if 1 <= rate <= 1000 else DEFAULT_RATE
    return Source(f"camera-{index}", rate, None, _captured(capture, index), True)


def _captured(capture: Any, index: int) -> Iterator[SourceFrame]:
    first: SourceFrame | None = None
    start = count = 0
    try:
        while True:
            there, pixels = capture.read()
            if not there:
                raise BenchError(f"camera {index} gives no more frames, after {count}")
            now = time.monotonic_ns()
            start = start or now
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            check_size(first, pixels, f"frame {count} of camera {index}")
            frame = SourceFrame(count, f"{count:06d}", (now - start) / 1e9, pixels)
            first = first or frame
            count += 1
            yield frame
    finally:
        capture.release()
