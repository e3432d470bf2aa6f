"""A wish to stop, heard between two frames, so that all files can be finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Wish:
    """Whether somebody wants the prediction to end."""

    def __init__(self) -> None:
        self.stop = False

    def __call__(self) -> bool:
        return self.stop


@contextmanager
def heeding_signals() -> Iterator[Wish]:
    """Ctrl-C and SIGTERM become a wish; a second Ctrl-C ends the program as ever."""
    wish = Wish()

    def heed(number: int, frame: FrameType | None) -> None:
        if wish.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        wish.stop = True

    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, heed) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
