"""Generated video in the VSPW layout: frames and masks of class + 1, one list per split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from videomt_bench.data.generate import (
    GeneratorSettings,
    check_settings,
    is_made,
    origin,
    write_file,
    write_frames,
    write_json,
    write_masks,
    writing,
)
from videomt_bench.data.stuff import ON_BORDER, SPLITS, StuffScene, draw_stuff_scene
from videomt_bench.errors import BenchError

VERSION = 1
"""Of the VSPW generator; other bytes for the same settings need another version."""
IGNORED, IGNORED_BORDER = 0, 255
"""Mask values without a class; both occur in the layout."""


def make_vspw(
    root: Path,
    settings: GeneratorSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``data/VIDEO/{origin,mask}`` and, last, ``root/SPLIT.txt``; returns its path.

    Video i depends on the seed, the split and i alone. The layout has no place for settings: they
    are in ``root/generated_SPLIT.json``, written first. With the same settings there, a finished
    make is left alone and an interrupted one is done again.

    Args:
        root: folder of the dataset, made if need be.
        settings: what to generate; the splits are ``train`` and ``val``.
        on_progress: called with (videos done, videos in all).

    Raises:
        BenchError: settings out of range, a folder that cannot be written, or other data in place.
    """
    check_settings(settings, SPLITS)
    root = Path(root)
    list_path = root / f"{settings.split}.txt"
    if _begin(root, list_path, origin(settings, VERSION)):
        return list_path
    names = [f"{settings.split}_{i + 1:05d}" for i in range(settings.videos)]
    with writing(root):
        for i, name in enumerate(names):
            _write_video(root / "data" / name, draw_stuff_scene(settings, i))
            if on_progress is not None:
                on_progress(i + 1, settings.videos)
        # the official reader cuts the last character of every line, so the last one ends too
        write_file(list_path, "".join(f"{name}\n" for name in names).encode())
    return list_path


def _begin(root: Path, list_path: Path, info: dict[str, Any]) -> bool:
    """Note the settings; True if the split is already made with them."""
    settings_path = root / f"generated_{list_path.stem}.json"
    if is_made(settings_path, info):
        return list_path.exists()
    if list_path.exists():
        raise BenchError(
            f"{list_path} is other data than asked for; choose another folder or remove it"
        )
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        write_json(settings_path, {"info": info})
    return False


def _write_video(folder: Path, scene: StuffScene) -> None:
    stems = [f"{t:08d}" for t in range(len(scene.frames))]
    values = np.array([IGNORED, *(scene.categories + 1), IGNORED_BORDER], dtype=np.uint8)
    assert ON_BORDER == -1  # the last of the values
    write_frames([folder / "origin" / f"{stem}.jpg" for stem in stems], scene.frames)
    write_masks([folder / "mask" / f"{stem}.png" for stem in stems], values[scene.labels])
