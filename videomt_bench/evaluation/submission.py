"""Zip files for the evaluation servers, checked before they are written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path, PurePosixPath

from PIL import Image

from videomt_bench.data.frames import FrameFiles
from videomt_bench.data.layouts import Index
from videomt_bench.data.ytvis import YTVISIndex
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.tasks import Predictions
from videomt_bench.files import replacing

LIMIT_MIB = 500
"""Larger files are refused unless the caller knows the server's own limit."""


def write_submission(
    predictions: Predictions, index: Index, target: Path, limit_mib: float = LIMIT_MIB
) -> Path:
    """Check predictions against their split and pack them; the zip appears whole or not at all.

    Raises:
        BenchError: a video or frame without predictions, masks of another number or size, or a zip
            larger than ``limit_mib``.
    """
    if isinstance(index, YTVISIndex):
        _check_instances(predictions.files[0], index)
    else:
        nested = (predictions.folder / "pan_pred").is_dir()
        base = predictions.folder / "pan_pred" if nested else predictions.folder
        for video in index.videos:
            _check_frames(base / video.name, video)
    with replacing(target) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for member in sorted(predictions.files):
                archive.write(member, member.relative_to(predictions.folder).as_posix())
        size = file.tell() / 2**20
        if size > limit_mib:
            raise BenchError(f"{target} would have {size:.1f} MiB; the limit is {limit_mib:g} MiB")
    return target


def _check_instances(file: Path, index: YTVISIndex) -> None:
    videos = {video.id: video for video in index.videos}
    missing = set(videos)
    for number, entry in enumerate(json.loads(file.read_text(encoding="utf-8"))):
        video = videos.get(entry["video_id"])
        if video is None:
            raise BenchError(f"{file}: entry {number} is of the unknown video {entry['video_id']}")
        missing.discard(video.id)
        masks = entry["segmentations"]
        if len(masks) != len(video.file_names):
            raise BenchError(
                f"{file}: entry {number} has {len(masks)} masks, "
                f"video {video.id} has {len(video.file_names)} frames"
            )
        size = [video.height, video.width]
        if wrong := next((m["size"] for m in masks if m and list(m["size"]) != size), None):
            raise BenchError(f"{file}: entry {number} has a mask of {wrong}, its video is {size}")
    if missing:
        shown = ", ".join(map(str, sorted(missing)[:5])) + (" …" if len(missing) > 5 else "")
        raise BenchError(f"{file}: no prediction for {len(missing)} videos: {shown}")


def _check_frames(folder: Path, video: FrameFiles) -> None:
    for name in video.file_names:
        file = folder / f"{PurePosixPath(name).stem}.png"
        if not file.is_file():
            raise BenchError(f"no prediction for frame {name!r}: {file} is missing")
        with Image.open(file) as image:
            if image.size != (video.width, video.height):
                raise BenchError(
                    f"{file} is {image.height}x{image.width}, "
                    f"its video is {video.height}x{video.width}"
                )
