"""Generated video in the VIPSeg layout: frames, RGB masks of segment ids, one JSON per split."""

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
    write_frames,
    write_json,
    write_masks,
    writing,
)
from videomt_bench.data.stuff import CATEGORIES, SPLITS, StuffScene, draw_stuff_scene

VERSION = 1
"""Of the VIPSeg generator; other bytes for the same settings need another version."""


def make_vipseg(
    root: Path,
    settings: GeneratorSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``images/``, ``panomasksRGB/`` and, last, the JSON of a split; returns its path.

    Video i depends on the seed, the split and i alone. If the JSON is there with the same settings,
    nothing is done. An interrupted make leaves no JSON, and making again overwrites its files.

    Args:
        root: folder of the dataset, made if need be.
        settings: what to generate; the splits are ``train`` and ``val``.
        on_progress: called with (videos done, videos in all).

    Raises:
        BenchError: settings out of range, a folder that cannot be written, or other data in place.
    """
    check_settings(settings, SPLITS)
    root = Path(root)
    json_path = root / f"panoptic_gt_VIPSeg_{settings.split}.json"
    info = origin(settings, VERSION)
    if is_made(json_path, info):
        return json_path
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with writing(root):
        for i in range(settings.videos):
            name = f"{settings.split}_{i + 1:05d}"
            scene = draw_stuff_scene(settings, i)
            video, annotation = _write_video(root, name, scene)
            videos.append(video)
            annotations.append(annotation)
            if on_progress is not None:
                on_progress(i + 1, settings.videos)
        categories = [
            dict(id=c.id, name=c.name, isthing=int(c.is_thing), color=c.colour) for c in CATEGORIES
        ]
        data = dict(info=info, videos=videos, annotations=annotations, categories=categories)
        write_json(json_path, data)
    return json_path


def _write_video(root: Path, name: str, scene: StuffScene) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the images and masks of a video; returns its entries in videos and annotations."""
    length, height, width, _ = scene.frames.shape
    stems = [f"{t:08d}" for t in range(length)]
    ids = _segment_ids(scene)
    colours = np.zeros((len(ids) + 1, 3), dtype=np.uint8)
    colours[1:] = ids[:, None] >> np.array([0, 8, 16]) & 255
    labels = np.maximum(scene.labels, 0)
    write_frames([root / "images" / name / f"{stem}.jpg" for stem in stems], scene.frames)
    write_masks([root / "panomasksRGB" / name / f"{stem}.png" for stem in stems], colours[labels])
    # the official JSON names the masks even where it means the images
    images = [dict(id=s, width=width, height=height, file_name=f"{s}.png") for s in stems]
    annotations = [
        dict(image_id=s, file_name=f"{s}.png", segments_info=_segments(scene, ids, frame))
        for s, frame in zip(stems, labels, strict=True)
    ]
    return dict(video_id=name, images=images), dict(video_id=name, annotations=annotations)


def _segment_ids(scene: StuffScene) -> np.ndarray:
    """Ids int (S,): the colour of the class as a number, counted up for more things of a class."""
    colours = {c.id: c.colour for c in CATEGORIES}
    used: dict[int, int] = {}
    ids = []
    for category in scene.categories.tolist():
        red, green, blue = colours[category]
        count = used[category] = used.get(category, -1) + 1
        ids.append(red + 256 * green + 65536 * blue + count)
    return np.array(ids)


def _segments(scene: StuffScene, ids: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """``segments_info`` of one frame: the segments that have pixels in it."""
    segments = []
    for index, id_ in enumerate(ids.tolist()):
        rows, columns = np.nonzero(labels == index + 1)
        if not len(rows):
            continue
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
        segment = dict(id=id_, category_id=int(scene.categories[index]))
        segments.append(segment | dict(iscrowd=int(scene.crowds[index]), area=len(rows), bbox=box))
    return segments
