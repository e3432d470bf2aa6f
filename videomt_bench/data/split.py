"""A hold-out: a training set in the YouTube-VIS layout, divided by video.

For validation where a benchmark keeps the truth of its own validation split to itself.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videomt_bench.data.document import get, load_document
from videomt_bench.data.generate import write_file
from videomt_bench.errors import BenchError

PARTS = ("kept", "held")


@dataclass(frozen=True)
class SplitResult:
    """What was written."""

    kept: Path
    """To train on: ``STEM_kept.json``."""
    held: Path
    """To test on: ``STEM_held.json``."""
    videos: tuple[int, int]
    """Kept and held."""
    annotations: tuple[int, int]
    one_sided: tuple[str, ...]
    """A sentence for each class with videos in one part only."""


def split_dataset(json_path: Path, out: Path, *, fraction: float, seed: int) -> SplitResult:
    """Hold out a fraction of the videos of an annotation file; no frame is copied or moved.

    The choice depends on the seed, the fraction and the content, not on the order of the file. A
    class with two videos or more is in both parts where that is possible. File names stay as they
    are, relative to the folder of frames of the whole set.

    Args:
        json_path: an annotated file of YT-VIS or OVIS.
        out: folder of the two files, made if need be; the same files there are left alone.
        fraction: of the videos, above 0 and below 1; at least one video goes to either part.
        seed: 0 or more.

    Raises:
        BenchError: a file that cannot be read or divided, a fraction or seed out of range, other
            files in place, or a folder that cannot be written.
    """
    json_path, out = Path(json_path), Path(out)
    if not 0 < fraction < 1:
        raise BenchError(f"a hold-out of {fraction} of the videos; valid: above 0 and below 1")
    if seed < 0:
        raise BenchError(f"seed {seed} of a hold-out; valid: 0 or more")
    data = load_document(json_path)
    classes = _classes_by_video(data, json_path)
    if len(classes) < 2:
        raise BenchError(f"{json_path} has {len(classes)} videos; a hold-out needs 2 or more")
    count = min(max(1, round(fraction * len(classes))), len(classes) - 1)
    held = _choose(classes, count, seed)
    info = {"file": json_path.name, "fraction": fraction, "seed": seed}
    chosen = (classes.keys() - held, held)
    parts = [_part(data, ids, {**info, "part": p}) for p, ids in zip(PARTS, chosen, strict=True)]
    paths = [out / f"{json_path.stem}_{part}.json" for part in PARTS]
    _write(paths, [json.dumps(part, separators=(",", ":")).encode() for part in parts])
    videos, annotations = ([len(p[key]) for p in parts] for key in ("videos", "annotations"))
    return SplitResult(
        paths[0], paths[1], (videos[0], videos[1]), (annotations[0], annotations[1]),
        _one_sided(data, classes, held),
    )  # fmt: skip


def _classes_by_video(data: dict[str, Any], json_path: Path) -> dict[int, frozenset[int]]:
    """The classes of the objects of every video; also checks what a division needs."""
    where = f"{json_path}"
    classes: dict[int, set[int]] = {}
    for video in get(data, "videos", list, where):
        id_ = get(video, "id", int, f"{where}: a video")
        if id_ in classes:
            raise BenchError(f"{where}: two videos have the id {id_}")
        classes[id_] = set()
    categories = get(data, "categories", list, where)
    known = {get(item, "id", int, f"{where}: a category") for item in categories}
    if data.get("annotations") is None:
        raise BenchError(f"{where} has no annotations, so there is nothing to hold out")
    for item in get(data, "annotations", list, where):
        ids = [
            get(item, key, int, f"{where}: an annotation") for key in ("video_id", "category_id")
        ]
        if ids[0] not in classes or ids[1] not in known:
            raise BenchError(
                f"{where}: an annotation is of video {ids[0]} and category {ids[1]}, "
                "and the file does not have both"
            )
        classes[ids[0]].add(ids[1])
    return {video: frozenset(labels) for video, labels in classes.items()}


def _choose(classes: dict[int, frozenset[int]], count: int, seed: int) -> set[int]:
    """The videos to hold: first some of every class, the rarest first, then any."""
    order = sorted(classes, key=lambda video: _hash(seed, video))
    left = Counter(label for labels in classes.values() for label in labels)
    shared = {label: n for label, n in left.items() if n >= 2}
    missing = set(shared)
    held: set[int] = set()

    def hold(video: int) -> None:
        held.add(video)
        left.subtract(classes[video])
        missing.difference_update(classes[video])

    def is_free(video: int, singles: bool) -> bool:
        """Whether to hold the video takes no class out of the other part."""
        return all(left[c] > 1 or (singles and c not in shared) for c in classes[video])

    for label in sorted(shared, key=lambda c: (shared[c], c)):
        if label not in missing or len(held) == count:
            continue
        found = [v for v in order if label in classes[v] and v not in held and is_free(v, True)]
        if found:
            hold(max(found, key=lambda v: (is_free(v, False), len(missing & classes[v]))))
    # a video whose class has no other, or would lose its last, is held only where there is no else
    for accepts in (lambda v: is_free(v, False), lambda v: is_free(v, True), lambda v: True):
        for video in order:
            if len(held) < count and video not in held and accepts(video):
                hold(video)
    return held


def _hash(seed: int, video: int) -> bytes:
    return hashlib.sha256(f"{seed} {video}".encode()).digest()


def _one_sided(
    data: dict[str, Any], classes: dict[int, frozenset[int]], held: set[int]
) -> tuple[str, ...]:
    """What the hold-out could not do."""
    total = Counter(label for labels in classes.values() for label in labels)
    in_held = Counter(label for video in held for label in classes[video])
    names = {c["id"]: c.get("name") for c in data["categories"]}
    sentences = []
    for label in sorted(total):
        if 0 < in_held[label] < total[label]:
            continue
        part = PARTS[in_held[label] > 0]
        n = "its only video is" if total[label] == 1 else f"its {total[label]} videos are"
        sentences.append(f"class {label} ({names[label]}): {n} in the {part} part")
    return tuple(sentences)


def _part(data: dict[str, Any], ids: Iterable[int], origin: dict[str, Any]) -> dict[str, Any]:
    """The document of some videos, everything else as it was."""
    ids, info = set(ids), data.get("info")
    return {
        **data,
        "info": {**(info if isinstance(info, dict) else {}), "hold_out": origin},
        "videos": [video for video in data["videos"] if video["id"] in ids],
        "annotations": [a for a in data["annotations"] if a["video_id"] in ids],
    }


def _write(paths: list[Path], contents: list[bytes]) -> None:
    """Write files that are not there; refuse all if one has other content."""
    try:
        missing = []
        for path, content in zip(paths, contents, strict=True):
            if not path.exists():
                missing.append((path, content))
            elif path.read_bytes() != content:
                raise BenchError(f"{path} has other content; choose another folder or remove it")
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, content in missing:
            write_file(path, content)
    except OSError as error:
        raise BenchError(f"cannot write to {paths[0].parent}: {error.strerror or error}") from None
