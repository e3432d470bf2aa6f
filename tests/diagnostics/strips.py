"""Videos so small that everything can be worked out by hand: objects are rows of a frame."""

from __future__ import annotations

import numpy as np
from nasty_videos import encode

from videomt_bench.diagnostics.case import video_case
from videomt_bench.evaluation.ytvis_files import Prediction, Truth, TruthObject, Video

SIZE = (8, 10)
NAMES = {1: "a", 2: "b"}
POSITIONS = {1: 0, 2: 1}


def strip(row, columns=10, rows=1):
    """The first ``columns`` pixels of so many rows."""
    mask = np.zeros(SIZE, bool)
    mask[row : row + rows, :columns] = True
    return encode(mask)


def tube(*frames):
    """One item per frame: a row, (row, columns), or None."""
    return [
        None if item is None else strip(*(item if isinstance(item, tuple) else (item,)))
        for item in frames
    ]


def thing(*frames, category=1, video=1, **more):
    """An object."""
    return TruthObject(video, category, tube(*frames), **more)


def guess(score, *frames, category=1, video=1):
    """A prediction."""
    return Prediction(video, category, score, tube(*frames))


def truth_of(objects, length):
    """One video for each that an object names."""
    ids = sorted({o.video_id for o in objects})
    return Truth({i: Video(i, *SIZE, length) for i in ids}, NAMES, objects)


def case_of(objects, predictions, length):
    """Of the single video."""
    return video_case(Video(1, *SIZE, length), objects, predictions, POSITIONS)
