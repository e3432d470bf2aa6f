from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videomt_bench.data.frames import read_frames
from videomt_bench.data.ytvis import Video, read_ytvis
from videomt_bench.errors import BenchError


@pytest.fixture
def video(document: Any, dataset: Any) -> tuple[Video, Path]:
    index = read_ytvis(*dataset(document))
    return index.videos[0], index.frames_root


def test_frames_come_in_the_order_asked_for(video: tuple[Video, Path]) -> None:
    frames = read_frames(*video, [2, 0, 2])
    assert frames.shape == (3, 12, 16, 3)
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 0].tolist() == [80, 0, 80]


def test_a_repeated_frame_is_decoded_once(
    video: tuple[Video, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(a) or original(*a, **k))
    frames = read_frames(*video, np.array([1, 2, 1, 1]))
    assert frames[:, 0, 0, 0].tolist() == [40, 80, 40, 40]
    assert len(opened) == 2


def test_resize_is_bilinear_by_pil_on_uint8(video: tuple[Video, Path]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    path = video[1] / video[0].file_names[1]
    Image.fromarray(pixels).save(path, quality=95)
    with Image.open(path) as image:
        expected = np.asarray(image.resize((21, 9), Image.Resampling.BILINEAR))
    assert np.array_equal(read_frames(*video, [1], size=(9, 21))[0], expected)


def test_grey_and_png_files_become_rgb(video: tuple[Video, Path]) -> None:
    Image.new("L", (16, 12), 77).save(video[1] / video[0].file_names[0], format="PNG")
    assert (read_frames(*video, [0]) == 77).all()


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    Image.effect_noise((16, 12), 90).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _other_size(path: Path) -> None:
    Image.new("RGB", (12, 16)).save(path)


def _other_format(path: Path) -> None:
    Image.new("RGB", (16, 12)).save(path, format="GIF")


def _link(path: Path) -> None:
    outside = path.parents[3] / "outside.jpg"
    Image.new("RGB", (16, 12)).save(outside)
    path.unlink()
    path.symlink_to(outside)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_missing, "missing"),
        (_empty, "cannot be read"),
        (_cut, "cannot be read"),
        (_folder, "cannot be read"),
        (_other_size, "16 x 12.*12 x 16"),
        (_other_format, "cannot be read"),
        (_link, "leaves"),
    ],
)
def test_a_bad_frame_is_named(video: tuple[Video, Path], damage: Any, word: str) -> None:
    damage(video[1] / video[0].file_names[1])
    read_frames(*video, [0, 2])
    with pytest.raises(BenchError, match=rf"cat/00001\.jpg.*{word}") as caught:
        read_frames(*video, [0, 1])
    assert "'cat'" in str(caught.value)
