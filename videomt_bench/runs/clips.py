"""The training clips of a stage: those of its data set, and what is mixed into them."""

from __future__ import annotations

from pathlib import Path

from videomt_bench.data.augment import ImageMotion
from videomt_bench.data.clips import TrainClips
from videomt_bench.data.coco import CocoIndex
from videomt_bench.data.layouts import Index, open_dataset
from videomt_bench.data.mixture import MixedClips
from videomt_bench.runs.spec import DatasetSpec, StageSettings


def open_split(dataset: DatasetSpec, split: str) -> Index:
    """A split of a data set."""
    return open_dataset(dataset.layout, Path(dataset.root), split)


def training_clips(
    dataset: DatasetSpec, stage: StageSettings, seed: int
) -> TrainClips | MixedClips:
    """The stream of clips that a stage learns from.

    Raises:
        BenchError: data that is missing, malformed, of other classes or without objects.
    """
    own = dataset.training
    first = _stream(open_split(own, own.train_split), stage, seed)
    if not own.mixture:
        return first
    others = [
        # a seed of its own: the same draws should not go with the same sample number
        _stream(open_dataset(mixed.layout, Path(mixed.root), mixed.split), stage, seed + (k << 32))
        for k, mixed in enumerate(own.mixture, start=1)
    ]
    ratios = [mixed.ratio for mixed in own.mixture]
    if stage.mixture_ratio is not None:
        ratios = [stage.mixture_ratio] * len(others)
    return MixedClips([first, *others], [1.0, *ratios], seed)


def _stream(index: Index, stage: StageSettings, seed: int) -> TrainClips:
    images = isinstance(index, CocoIndex)
    return TrainClips(
        index,
        stage.frames,
        ImageMotion(stage.augmentation) if images else stage.augmentation,
        seed,
        stage.label_quirk,
        stage.drop_empty,
        include_last=stage.include_last,
        ordered=stage.ordered,
        span=stage.span,
        present_everywhere=stage.present_everywhere,
        reverse=stage.reverse,
    )
