"""Generated video: settings, what the generators of all layouts share, and the YouTube-VIS layout.

Generators write real files, the same bytes for the same settings.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from videomt_bench.data.masks import encode_masks
from videomt_bench.data.scenes import COLOURS, SCENES, Physics, Scene, make_scene
from videomt_bench.errors import BenchError, unknown

SPLITS = ("train", "valid")
VERSION = 1
"""Of the YouTube-VIS generator; other bytes for the same settings need another version."""
MIN_SIZE = 16


@dataclass(frozen=True)
class GeneratorSettings:
    """What to generate. The splits of one seed are different videos."""

    videos: int
    frames: int = 24
    """Per video."""
    height: int = 48
    width: int = 48
    """Pixels."""
    seed: int = 0
    split: str = "train"
    """``train``, or ``valid`` (YouTube-VIS) or ``val`` (VIPSeg, VSPW)."""
    scene: str = "slots"
    """A key of :data:`videomt_bench.data.scenes.SCENES`."""
    physics: Physics | None = None
    """Instead of the physics that belongs to the scene."""


def make_ytvis(
    root: Path,
    settings: GeneratorSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write frames and, last, ``root/SPLIT.json``; returns the path of that file.

    Video i depends on the seed, the split and i alone. If the file is there with the same settings,
    nothing is done. An interrupted make leaves no such file, and making again overwrites its
    frames.

    Args:
        root: folder of the dataset, made if need be.
        settings: what to generate.
        on_progress: called with (videos done, videos in all).

    Raises:
        BenchError: settings out of range, a folder that cannot be written, or other data in place.
    """
    check_settings(settings, SPLITS)
    json_path = Path(root) / f"{settings.split}.json"
    info = origin(settings, VERSION)
    if is_made(json_path, info):
        return json_path
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with writing(root):
        for i in range(settings.videos):
            scene = draw_scene(settings, SPLITS, i)
            videos.append(_write_video(Path(root) / settings.split / "JPEGImages", scene, i + 1))
            annotations.extend(_annotations(scene, i + 1, len(annotations) + 1))
            if on_progress is not None:
                on_progress(i + 1, settings.videos)
        categories = [{"id": i, "name": name} for i, name in enumerate(COLOURS, start=1)]
        data = dict(info=info, categories=categories, videos=videos, annotations=annotations)
        write_json(json_path, data)
    return json_path


def _physics(settings: GeneratorSettings) -> Physics:
    return settings.physics or SCENES[settings.scene]


def draw_scene(settings: GeneratorSettings, splits: Sequence[str], i: int) -> Scene:
    """Video ``i`` of a split; it does not depend on how many there are."""
    rng = np.random.default_rng([settings.seed, splits.index(settings.split), i])
    size = (settings.frames, settings.height, settings.width)
    return make_scene(settings.scene, _physics(settings), *size, rng)


def check_settings(settings: GeneratorSettings, splits: Sequence[str]) -> None:
    """Raise a :class:`BenchError` for settings out of range."""
    if settings.split not in splits:
        raise unknown("split of generated video", settings.split, splits)
    if settings.scene not in SCENES:
        raise unknown("scene", settings.scene, SCENES)
    least = dict(videos=1, frames=1, height=MIN_SIZE, width=MIN_SIZE, seed=0)
    for name, low in least.items():
        if getattr(settings, name) < low:
            raise BenchError(
                f"generated video with {name} = {getattr(settings, name)}; "
                f"it must be at least {low}"
            )
    physics = _physics(settings)
    for field in fields(physics):
        value = getattr(physics, field.name)
        low, high = value if isinstance(value, tuple) else (value, value)
        probability = field.name in ("look_alike", "late", "gap", "early")
        first = 1 if field.name in ("objects", "radius", "late_start", "gap_length") else 0
        last = 1 if probability else 200 if field.name == "objects" else float("inf")
        if not first <= low <= high <= last:
            raise BenchError(
                f"generated video with {field.name} = {value}; it must be ascending and within "
                f"{first} to {last}"
            )


def origin(settings: GeneratorSettings, version: int) -> dict[str, Any]:
    """What a file says of its origin, as JSON values."""
    made = {**asdict(settings), "physics": asdict(_physics(settings))}
    info = {"description": "generated video", "generator": version, "settings": made}
    return json.loads(json.dumps(info))


def is_made(json_path: Path, info: dict[str, Any]) -> bool:
    """Whether a file with this origin is there.

    Raises:
        BenchError: a file with another origin is there.
    """
    if not json_path.exists():
        return False
    try:
        there = json.loads(json_path.read_text(encoding="utf-8"))["info"]
    except OSError as error:
        raise BenchError(f"cannot read {json_path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        there = None
    if there != info:
        raise BenchError(
            f"{json_path} is other data than asked for{_difference(there, info)}; "
            "choose another folder or remove it"
        )
    return True


def _difference(there: Any, info: dict[str, Any]) -> str:
    """The first setting in which a file differs, as words."""
    settings = there.get("settings") if isinstance(there, dict) else None
    if isinstance(settings, dict):
        for key, value in info["settings"].items():
            if settings.get(key) != value:
                return f" ({key} is {settings.get(key)}, not {value})"
    return ""


def _write_video(folder: Path, scene: Scene, video_id: int) -> dict[str, Any]:
    """Write the frames of a video and return its entry in the JSON."""
    length, height, width, _ = scene.frames.shape
    name = f"{video_id:05d}"
    file_names = [f"{name}/{t:05d}.jpg" for t in range(length)]
    write_frames([folder / file_name for file_name in file_names], scene.frames)
    return dict(id=video_id, width=width, height=height, length=length, file_names=file_names)


def _annotations(scene: Scene, video_id: int, first_id: int) -> list[dict[str, Any]]:
    """One track per object that is seen at all, as entries of the JSON."""
    _, length, height, width = scene.masks.shape
    rles = encode_masks(scene.masks.reshape(-1, height, width))
    # not by pycocotools, whose area fails under numpy 2 for more than 255 masks
    areas = np.count_nonzero(scene.masks, axis=(2, 3)).reshape(-1).tolist()
    boxes = coco_mask.toBbox(rles).tolist()
    tracks: list[dict[str, Any]] = []
    for i, label in enumerate(scene.classes.tolist()):
        frames = range(i * length, (i + 1) * length)
        if not any(areas[k] for k in frames):
            continue
        track = dict(id=first_id + len(tracks), video_id=video_id, category_id=label + 1, iscrowd=0)
        track |= dict(height=height, width=width, length=length)
        for key, values in (("bboxes", boxes), ("segmentations", rles), ("areas", areas)):
            track[key] = [values[k] if areas[k] else None for k in frames]
        tracks.append(track)
    return tracks


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turns the failure to write a file below ``root`` into a :class:`BenchError`."""
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"cannot write generated video to {root}: {error.strerror or error}"
        ) from None


def write_frames(paths: Sequence[Path], frames: np.ndarray) -> None:
    """Write RGB frames, uint8 (T, H, W, 3), as JPEG files of one folder."""
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, frame in zip(paths, frames, strict=True):
        _write_image(path, frame, "JPEG", quality=95, subsampling=0)


def write_masks(paths: Sequence[Path], masks: np.ndarray) -> None:
    """Write masks, uint8 (T, H, W) or (T, H, W, 3), as PNG files of one folder."""
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, mask in zip(paths, masks, strict=True):
        _write_image(path, mask, "PNG")


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a document without white space."""
    write_file(path, json.dumps(data, separators=(",", ":")).encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a second make, never sees a part of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_image(path: Path, image: np.ndarray, kind: str, **options: Any) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    write_file(path, buffer.getvalue())
