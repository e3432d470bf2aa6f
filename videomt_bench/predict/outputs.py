"""The folder of a prediction: its files grow with the video and are finished at its end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError
from videomt_bench.files import write_json
from videomt_bench.predict.classes import Classes
from videomt_bench.predict.overlay import Overlay
from videomt_bench.predict.results import (
    Final,
    FrameLines,
    save_png,
    write_map,
    write_panoptic,
    write_tracks,
)
from videomt_bench.predict.segments import FrameSegments
from videomt_bench.predict.source import Source, SourceFrame
from videomt_bench.predict.video_writer import VideoWriter

SUMMARY = "prediction.json"
"""Says what the folder is; only a folder that has it is ever overwritten."""
OVERLAY_VIDEO = "overlay.mp4"


@dataclass(frozen=True)
class Wanted:
    """Which pictures to write beside the results, and how large."""

    video: bool = True
    images: bool = False
    scale: int | None = None
    """How many times larger overlays are than frames; None: 1, more for tiny frames."""


def check_folder(folder: Path, overwrite: bool) -> None:
    """Find out whether a folder may be used for a prediction.

    Raises:
        BenchError: something is there that may not be replaced.
    """
    if not folder.exists():
        return
    made_here = (folder / SUMMARY).is_file()
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if overwrite and not made_here:
        raise BenchError(
            f"{folder} is not the result of an earlier prediction (it has no {SUMMARY}), "
            "so it is not overwritten; choose another --out"
        )
    if not overwrite:
        raise BenchError(f"{folder} is there already; choose another --out or say --overwrite")


@dataclass
class Outputs:
    """All files of one video, below ``folder``."""

    folder: Path
    source: Source
    classes: Classes
    wanted: Wanted
    _video: VideoWriter | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if (self.folder / SUMMARY).is_file():
            shutil.rmtree(self.folder)
        self.summarize({"state": "running", "source": self.source.name})
        self._lines = FrameLines(self.folder, self.classes)
        self._overlay = Overlay(self.classes, self.wanted.scale)

    def write(self, frame: SourceFrame, found: FrameSegments) -> None:
        """Write all that belongs to a frame.

        Raises:
            BenchError: the disk is full.
        """
        if (folder := self._maps()) is not None:
            write_map(folder / f"{frame.name}.png", found, self.classes)
        self._lines.write(frame, found)
        if not (self.wanted.video or self.wanted.images):
            return
        image = self._overlay.draw(frame.pixels, found)
        if self.wanted.images:
            save_png(self.folder / "overlays" / f"{frame.name}.png", image)
        if self.wanted.video:
            if self._video is None:
                path = self.folder / OVERLAY_VIDEO
                self._video = VideoWriter(path, image.shape[:2], self.source.rate)
            self._video.write(image, frame.time)

    def finish(self, final: Final) -> list[str]:
        """Close all files and make those that need the whole video.

        Returns:
            what could not be done, a sentence each; the other files are done.
        """
        steps: list[Callable[[], object]] = [self._lines.close]
        if self.classes.task == "instances":
            steps.append(lambda: write_tracks(self.folder, self.classes, final))
        if self.classes.task == "panoptic":
            steps.append(lambda: write_panoptic(self.folder, self.source.name))
        if self._video is not None:
            steps.append(self._video.close)
        problems = []
        for step in steps:
            try:
                step()
            except BenchError as error:
                problems.append(str(error))
        return problems

    def summarize(self, document: dict[str, Any]) -> None:
        """Write the summary of the prediction.

        Raises:
            BenchError: the folder cannot be written.
        """
        write_json(self.folder / SUMMARY, document)

    def remove(self) -> None:
        """Remove everything: nothing was predicted."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def files(self) -> list[str]:
        """Files and folders of results that are there, relative to the folder."""
        names = ("frames.jsonl", "results.json", "predictions", OVERLAY_VIDEO, "overlays")
        return [name for name in names if (self.folder / name).exists()]

    def _maps(self) -> Path | None:
        """The folder of PNGs, where the task has them."""
        if self.classes.task == "panoptic":
            return self.folder / "predictions" / "pan_pred" / self.source.name
        if self.classes.task == "semantic":
            return self.folder / "predictions" / self.source.name
        return None
