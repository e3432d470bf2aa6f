"""Video consistency (VC), for all windows of a video at once, frame by frame.

VC of a window is the share of the pixels of constant truth on which the prediction is constant
too (Miao et al., VSPW, 2021). Which constants they are does not matter, and 0 and 255 in the
truth are values like others, as in the script behind the published numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
"""(H, W) one value per pixel."""

WINDOWS = (8, 16)
"""Lengths in frames; VC8 and VC16."""


class Consistency:
    """VC of the windows of one video. Memory is four maps, whatever the length of the video.

    A pixel is constant in the c frames up to now where its value has not changed for c frames,
    so two maps of run lengths answer every window.
    """

    def __init__(self) -> None:
        self._truth, self._predicted = _RunLengths(), _RunLengths()
        self._frames = 0

    def add(self, truth: Mask, predicted: Mask) -> list[float | None]:
        """Take the next frame; the masks have one size and are not changed afterwards.

        Returns:
            VC of the window of each length in ``WINDOWS`` that ends here; None where there is
            no such window, or no pixel of constant truth in it.
        """
        true_runs, predicted_runs = self._truth.add(truth), self._predicted.add(predicted)
        self._frames += 1
        return [
            _consistency(true_runs >= c, predicted_runs >= c) if self._frames >= c else None
            for c in WINDOWS
        ]


def _consistency(truth: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> float | None:
    constant = int(np.count_nonzero(truth))
    return int(np.count_nonzero(truth & predicted)) / constant if constant else None


class _RunLengths:
    """For how many frames each pixel has had its value, up to the longest window."""

    def __init__(self) -> None:
        self._before: Mask | None = None

    def add(self, values: Mask) -> Mask:
        if self._before is None:
            self._runs = np.zeros(values.shape, np.uint8)
        else:
            self._runs *= (values == self._before).view(np.uint8)
        self._runs += (self._runs < WINDOWS[-1]).view(np.uint8)
        self._before = values
        return self._runs
