"""Where the files of each data set lie, and one door to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from videomt_bench.data.classes import check_categories
from videomt_bench.data.coco import CocoIndex, read_coco
from videomt_bench.data.document import is_plain_name
from videomt_bench.data.panoptic import PanopticIndex, read_vipseg
from videomt_bench.data.semantic import SemanticIndex, read_vspw
from videomt_bench.data.split import PARTS
from videomt_bench.data.ytvis import YTVISIndex, read_ytvis
from videomt_bench.errors import BenchError, unknown

Index = YTVISIndex | PanopticIndex | SemanticIndex | CocoIndex
"""Each is a :class:`videomt_bench.data.sources.ClipSource`."""


@dataclass(frozen=True)
class Files:
    """What belongs to one split."""

    annotations: Path
    frames: Path
    masks: Path | None = None
    """The folder of PNGs, where the layout has one of its own."""


@dataclass(frozen=True)
class Layout:
    """Paths relative to the folder of a data set; ``{split}`` stands for the name of a split.

    Of a hold-out such as ``train_kept``, ``{whole}`` is ``train`` and ``{part}`` is ``_kept``.
    """

    read: Callable[[Files], Index]
    splits: tuple[str, ...]
    """Empty: any name."""
    annotations: tuple[str, ...]
    """The first that exists is taken."""
    frames: str
    masks: str | None = None
    inner: str = ""
    """Where the folder has this one in it, everything lies there."""


def open_dataset(name: str, root: Path, split: str) -> Index:
    """Read the annotations of a split; frames and masks stay on disk until they are asked for.

    Args:
        name: a key of :data:`LAYOUTS`.
        root: the folder of the data set, for example ``datasets/ytvis_2019``.
        split: as the release names it, for example ``valid`` of YT-VIS and ``val`` of VIPSeg; or a
            hold-out of :func:`videomt_bench.data.split.split_dataset`, as ``train_kept``, whose
            file lies beside that of the whole split.

    Raises:
        BenchError: no such data set or split, missing files, malformed annotations, or the classes
            of another data set.
    """
    files = locate(name, root, split)
    return LAYOUTS[name].read(files)


def locate(name: str, root: Path, split: str) -> Files:
    """The files of a split; they exist, the frames themselves unchecked.

    Raises:
        BenchError: no such data set or split, or missing files.
    """
    if name not in LAYOUTS:
        raise unknown("data set", name, LAYOUTS)
    layout, root = LAYOUTS[name], Path(root)
    part = next((f"_{part}" for part in PARTS if split.endswith(f"_{part}")), "")
    names = {"split": split, "whole": split.removesuffix(part), "part": part}
    if layout.splits and names["whole"] not in layout.splits:
        raise unknown(f"split of {name}", split, layout.splits)
    if not is_plain_name(split):
        raise BenchError(f"{split!r} is not the name of a split, such as 'train'")
    base = root / layout.inner if (root / layout.inner).is_dir() else root
    candidates = [base / path.format(**names) for path in layout.annotations]
    annotations = next((path for path in candidates if path.is_file()), None)
    if annotations is None:
        looked = " and ".join(map(str, candidates))
        raise BenchError(f"no split {split!r} of {name} in {root}: looked for {looked}")
    frames = base / layout.frames.format(**names)
    if not frames.is_dir():
        raise BenchError(f"{annotations} has no frames: looked for the folder {frames}")
    return Files(annotations, frames, base / layout.masks if layout.masks else None)


def _instances(benchmark: str | None) -> Callable[[Files], YTVISIndex]:
    def read(files: Files) -> YTVISIndex:
        index = read_ytvis(files.annotations, files.frames)
        if benchmark is not None:
            check_categories(benchmark, index.categories, f"{files.annotations}")
        return index

    return read


def _panoptic(files: Files) -> PanopticIndex:
    assert files.masks is not None
    return read_vipseg(files.annotations, files.frames, files.masks)


def _semantic(files: Files) -> SemanticIndex:
    return read_vspw(files.annotations, files.frames)


def _coco(benchmark: str) -> Layout:
    return Layout(
        read=lambda files: read_coco(files.annotations, files.frames, benchmark),
        splits=("train",),
        annotations=("annotations/instances_train2017.json",),
        frames="train2017",
    )


def _ytvis(benchmark: str | None, *splits: str, frames: str = "{whole}/JPEGImages") -> Layout:
    annotations = ("{split}.json", "{whole}/instances{part}.json")
    return Layout(_instances(benchmark), splits, annotations, frames)


LAYOUTS: dict[str, Layout] = {
    "ytvis_2019": _ytvis("ytvis_2019", "train", "valid", "test"),
    "ytvis_2021": _ytvis("ytvis_2021", "train", "valid", "test"),
    # it trains on ytvis_2021; the truth files gt* are not part of the release
    "ytvis_2022": _ytvis(
        "ytvis_2022", "valid", "gt", "gt_short", "gt_long", frames="valid/JPEGImages"
    ),
    "ovis": Layout(
        _instances("ovis"),
        splits=("train", "valid", "test"),
        annotations=("annotations/annotations_{split}.json", "annotations_{split}.json"),
        frames="{whole}",
    ),
    "vipseg": Layout(
        _panoptic,
        splits=("train", "val", "test"),
        annotations=("panoptic_gt_VIPSeg_{split}.json",),
        frames="images",
        masks="panomasksRGB",
        inner="VIPSeg_720P",
    ),
    "vspw": Layout(
        _semantic,
        splits=("train", "val", "test"),
        annotations=("{split}.txt",),
        frames="data",
        inner="VSPW_480p",
    ),
    "coco2ytvis2019": _coco("ytvis_2019"),
    "coco2ytvis2021": _coco("ytvis_2021"),
    "coco2ovis": _coco("ovis"),
    "generated": _ytvis(None),
}
"""Names as in the configurations of VidEoMT; ``generated`` is the layout of YT-VIS with any
classes. ``coco2*`` are COCO images with the classes of a benchmark."""
