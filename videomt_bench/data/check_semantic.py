"""Checks of the VSPW layout."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videomt_bench.data.check_findings import (
    Inspection,
    Problem,
    add_new,
    component,
)
from videomt_bench.data.check_images import (
    COLOUR_TYPES,
    GREY,
    PALETTE,
    Size,
    UnreadableError,
    find_missing,
    list_folder,
    read_png,
    read_png_header,
    read_size,
    resolved,
    wrong_size,
)
from videomt_bench.data.layouts import Files
from videomt_bench.data.vipseg_classes import CLASSES

VALUES = np.isin(np.arange(256), [*range(CLASSES + 1), 255])
"""Whether a mask may have a value: class + 1, or 0 and 255 for no class."""


class SemanticVideo(NamedTuple):
    """A video whose files are to be looked at."""

    where: str
    folder: Path
    frames: dict[str, bool]
    """The names of the images, each with whether it is a link."""
    masks: dict[str, bool]
    root: Path
    """The folder that links may not leave, resolved."""
    full: bool


def check_semantic(check: Inspection) -> None:
    """A split of VSPW: its list, its images and its masks."""
    files = check.locate()
    if files is None:
        return
    list_path = files.annotations
    check.categories = CLASSES
    names = _read_list(list_path, check)
    check.videos = len(names)
    if not names:
        check.add("entry", f"{list_path.name} lists no videos")
    videos = [video for name in names if (video := _find_files(files, name, check))]
    check.frames = sum(len(video.frames) for video in videos)
    check.annotated = any(video.masks for video in videos)
    sizes: dict[str, Size | None] = {}

    def look(video: SemanticVideo) -> list[Problem]:
        problems = list(_check_images(video, sizes))
        if check.annotated:
            problems += _check_masks(video, sizes[video.where])
        return problems

    check.run(look, videos)
    check.sizes.update(size for video in videos if (size := sizes[video.where]))


def _read_list(list_path: Path, check: Inspection) -> list[str]:
    """The names of videos, one a line."""
    try:
        # not in text mode, which would hide other line ends
        text = list_path.read_bytes().decode()
    except OSError as error:
        check.add("unreadable", f"{list_path} cannot be read: {error.strerror or error}")
        return []
    except UnicodeDecodeError:
        check.add("unreadable", f"{list_path} is not a text file in UTF-8")
        return []
    if text and not text.endswith("\n"):
        check.add(
            "list",
            f"{list_path} does not end with a newline: the official reader cuts the last character "
            "of every line",
        )
    if "\r" in text:
        check.add("list", f"{list_path} has line ends with \\r, which the official reader keeps")
    names: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        with check.entry(f"{list_path.name}, line {number}"):
            name = component(line.strip())
            add_new(seen, "video", name)
            names.append(name)
    return names


def _find_files(files: Files, name: str, check: Inspection) -> SemanticVideo | None:
    """The files of a video; ``None``, with a problem, without images."""
    where = f"{files.annotations.name}, video {name!r}"
    folder, root = files.frames / name, resolved(files.frames)
    listings: dict[str, dict[str, bool]] = {"origin": {}, "mask": {}}
    for part, suffix in (("origin", ".jpg"), ("mask", ".png")):
        try:
            listing = list_folder(folder / part, root)
        except UnreadableError as error:
            # a split without any masks is one without ground truth
            if part == "origin" or os.path.lexists(folder / part):
                check.add("missing", f"{where}: the folder {folder / part} {error}")
            continue
        listings[part] = {n: listing[n] for n in sorted(listing) if n.endswith(suffix)}
    if not listings["origin"]:
        check.add("missing", f"{where}: {folder / 'origin'} has no .jpg files")
        return None
    return SemanticVideo(where, folder, listings["origin"], listings["mask"], root, check.full)


def _check_images(video: SemanticVideo, sizes: dict[str, Size | None]) -> Iterator[Problem]:
    """The images of a video, all of one size, which goes into ``sizes``."""
    first: Size | None = None
    for name in video.frames:
        path = video.folder / "origin" / name
        if problem := find_missing(video.where, path, video.frames, video.root):
            yield problem
            continue
        try:
            size = read_size(path, video.full)
        except UnreadableError as error:
            yield Problem("unreadable", f"{video.where}: {path} {error}")
            continue
        first = first or size
        if size != first:
            yield wrong_size(video.where, path, size, first)
    sizes[video.where] = first


def _check_masks(video: SemanticVideo, size: Size | None) -> Iterator[Problem]:
    """One mask per image, of its size, with one channel and known values."""
    folder = video.folder / "mask"
    names = [f"{Path(name).stem}.png" for name in video.frames]
    if not video.masks:
        yield Problem("missing", f"{video.where}: {folder} has no masks")
        return
    for name in sorted(video.masks.keys() - set(names)):
        yield Problem("extra", f"{video.where}: {folder / name} belongs to no image")
    for i, name in enumerate(names):
        path = folder / name
        problem = find_missing(video.where, path, video.masks, video.root)
        problem = problem or _check_header(video.where, path, size)
        if not problem and (video.full or i == 0):
            problem = _check_values(video.where, path)
        if problem:
            yield problem


def _check_header(where: str, path: Path, size: Size | None) -> Problem | None:
    try:
        found, depth, colour = read_png_header(path)
    except UnreadableError as error:
        return Problem("unreadable", f"{where}: {path} {error}")
    if colour != PALETTE and (depth, colour) != (8, GREY):
        kind = COLOUR_TYPES.get(colour, f"colour type {colour}")
        valid = "valid are one channel of 8 bits and palette"
        return Problem("mode", f"{where}: {path} is a PNG of {kind} with {depth} bits; {valid}")
    return wrong_size(where, path, found, size) if size and found != size else None


def _check_values(where: str, path: Path) -> Problem | None:
    try:
        mask = read_png(path)
    except UnreadableError as error:
        return Problem("unreadable", f"{where}: {path} {error}")
    values = np.unique(mask)
    if len(bad := values[~VALUES[values]]):
        valid = f"valid are 0 to {CLASSES} and 255"
        return Problem("mask", f"{where}: {path} has the value {bad[0]}; {valid}")
    return None
