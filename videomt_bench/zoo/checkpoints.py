"""The published checkpoints, one line each in ``results/published/zoo/checkpoints.csv``.

What a source does not say is empty there.
"""

from __future__ import annotations

import csv
from ast import literal_eval
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from videomt_bench.errors import BenchError
from videomt_bench.shipped import shipped

FILE = "zoo/checkpoints.csv"
STAGES = ("image", "segmenter", "online", "offline")
"""What a file holds: a segmenter of images, one for a video data set, a model for videos."""


@dataclass(frozen=True)
class Checkpoint:
    """One published file and one data set that it is tested on, or learned from.

    All values are text, in the order of the columns.
    """

    name: str
    """One of ours, unique."""
    system: str
    """VidEoMT, EoMT, CAVIS, DVIS++, DVIS-DAQ or MinVIS."""
    stage: str
    """One of ``STAGES``."""
    layout: str
    """``official`` or ``transformers``."""
    variant: str
    """What it fills, or what can start from it; empty if nothing here is built like it."""
    encoder: str
    """By its name here, or in words if it is not built."""
    queries: str
    """How many, where a source says it."""
    dataset: str
    """By its name here, or in words."""
    recipe: str
    """Its public configuration, as a recipe."""
    test: str
    """``key=value`` of its test protocol that the recipe does not say; dotted: of its model."""
    expected: str
    """``metric value; metric value``, in percent, as printed."""
    source: str
    """Of the expected metrics, or of the file."""
    table: str
    """The published table that prints it, and its row and setting there."""
    row: str
    setting: str
    publisher: str
    """Address of the file, or of the folder that has it."""
    file: str
    """Its name there, as far as it is known."""
    sha256: str
    """Of its content, where the publisher shows it."""
    base: str
    """Of a file of differences: the pre-trained encoder that they are added to, on the hub."""
    licence: str
    remark: str

    @property
    def is_built(self) -> bool:
        """Whether a variant here takes it."""
        return self.variant != ""

    @property
    def is_video_model(self) -> bool:
        """Whether it can be evaluated as it is."""
        return self.stage in ("online", "offline")

    @property
    def is_offline(self) -> bool:
        """Whether it has a refiner, which goes over the tracks of whole videos."""
        return self.stage == "offline"

    @property
    def path(self) -> str:
        """Where it lies in a folder of weights; by our name, if its publisher's is not known."""
        return self.file or f"{self.name}.pth"

    @property
    def metrics(self) -> dict[str, str]:
        """The expected metrics in percent, with the decimals of the source."""
        pairs = [part.strip().split(" ") for part in self.expected.split(";") if part.strip()]
        return {pair[0]: pair[1] for pair in pairs}

    @property
    def changes(self) -> dict[str, Any]:
        """What the recipe has otherwise for its test protocol, as a nested table."""
        changes: dict[str, Any] = {}
        for part in self.test.split():
            key, _, value = part.partition("=")
            table, _, name = key.rpartition(".")
            changes.setdefault(table or "test", {})[name] = literal_eval(value)
        return changes


@cache
def load_checkpoints() -> tuple[Checkpoint, ...]:
    """All published checkpoints, in the order of the page.

    Raises:
        BenchError: the file is damaged, or the installation lacks it.
    """
    path = shipped("results/published") / FILE
    columns = [field.name for field in fields(Checkpoint)]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != columns:
                raise ValueError(f"its columns are {reader.fieldnames}; wanted: {columns}")
            return tuple(Checkpoint(**line) for line in reader)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise BenchError(f"cannot read {path}: {error}") from None


def checkpoint_of(
    variant: str, encoder: str, dataset: str, sha256: str = "", file: str = ""
) -> Checkpoint | None:
    """The published checkpoint whose test protocol a file has, or None.

    Of those of its variant and encoder, one of this data set comes first; of several, the one of
    this content, then the one of this file name, then the first.

    Args:
        variant: what the file fills.
        encoder: with or without the tag of its weights.
        dataset: that it is to be tested on.
        sha256: of its content.
        file: its name.
    """
    alike = [
        c
        for c in load_checkpoints()
        if c.is_video_model and c.variant == variant and _plain(c.encoder) == _plain(encoder)
    ]

    def nearness(c: Checkpoint) -> tuple[bool, bool, bool]:
        own = c.file.rpartition("/")[2]
        return c.dataset == dataset, "" != c.sha256 == sha256, "" != own == file

    return max(alike, key=nearness, default=None)


def _plain(encoder: str) -> str:
    return encoder.partition(".")[0]
