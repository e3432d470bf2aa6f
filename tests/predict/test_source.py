"""Frames from folders, from files of several codecs, turned, cut off or without pictures."""

from __future__ import annotations

import itertools
import struct
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_videos import pictures, write_folder, write_video

from videomt_bench.errors import BenchError
from videomt_bench.predict.source import open_source


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    frames = pictures(12)
    source = open_source(str(write_folder(tmp_path / "clip", frames)))
    (tmp_path / "clip" / "notes.txt").write_text("no frame")
    assert (source.name, source.length, source.live) == ("clip", 12, False)
    read = list(source.frames)
    np.testing.assert_array_equal(np.stack([f.pixels for f in read]), frames)
    assert [f.name for f in read] == [str(t) for t in range(12)]
    assert read[3].time == pytest.approx(3 / 24)


def test_photographs_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    picture = pictures(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees with the clock
    Image.fromarray(picture).save(tmp_path / "0.png", exif=exif)
    (frame,) = open_source(str(tmp_path)).frames
    np.testing.assert_array_equal(frame.pixels, np.rot90(picture, -1))


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "off"),
    [
        ("a.mp4", "libx264", "yuv420p", 40),
        ("a.mkv", "ffv1", "bgr0", 0),
        ("a.avi", "mpeg4", "yuv420p", 40),
        ("a.webm", "libvpx-vp9", "yuv420p", 40),
    ],
)
def test_any_codec(name: str, codec: str, pixels: str, off: int, tmp_path: Path) -> None:
    frames = pictures(5)
    source = open_source(str(write_video(tmp_path / name, frames, codec, pixels)))
    read = list(source.frames)
    assert source.name == "a"
    assert len(read) == 5
    assert source.length in (5, None) or name != "a.mp4"
    difference = np.abs(np.stack([f.pixels for f in read]).astype(int) - frames)
    assert difference.mean() <= off / 10
    assert (difference.max() == 0) == (off == 0)
    np.testing.assert_allclose([f.time for f in read], np.arange(5) / 10, atol=0.002)


def test_odd_sizes(tmp_path: Path) -> None:
    frames = pictures(3, 47, 63)
    path = write_video(tmp_path / "odd.mkv", frames, "ffv1", "bgr0")
    np.testing.assert_array_equal([f.pixels for f in open_source(str(path)).frames], frames)


def test_each_frame_keeps_its_own_time(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 1.9]
    path = write_video(tmp_path / "vfr.mp4", pictures(5), times=times)
    np.testing.assert_allclose([f.time for f in open_source(str(path)).frames], times, atol=1e-3)


# the display matrix of a track header: (p, q) -> (a p + c q + x, b p + d q + y)
TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@pytest.mark.parametrize("degrees", TURNS)
def test_a_video_is_turned_as_its_header_says(degrees: int, tmp_path: Path) -> None:
    """The header is changed byte by byte: a telephone held upright writes 90 with the clock."""
    frames = pictures(2)
    path = write_video(tmp_path / "turned.mp4", frames)
    plain = [f.pixels for f in open_source(str(path)).frames]
    content = path.read_bytes()
    unity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = content.index(unity, content.index(b"tkhd"))
    a, b, c, d = TURNS[degrees]
    x, y = (48 if c < 0 else 64 if a < 0 else 0), (48 if d < 0 else 64 if b < 0 else 0)
    x, y = x << 16, y << 16
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, x, y, 1 << 30)
    path.write_bytes(content[:at] + matrix + content[at + 36 :])
    turned = [f.pixels for f in open_source(str(path)).frames]
    for before, after in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(after, np.rot90(before, -degrees // 90))


def test_a_file_that_is_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    from videomt_bench.predict.video_writer import VideoWriter

    path = tmp_path / "cut.mp4"
    writer = VideoWriter(path, (48, 64), 10)
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    for t, frame in enumerate(noise):
        writer.write(frame, t / 10)
    writer.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read = []

    def collect() -> None:
        for frame in open_source(str(path)).frames:
            read.append(frame)

    with pytest.raises(BenchError, match=r"cut\.mp4 (is cut off|cannot be decoded after)"):
        collect()
    assert 5 < len(read) < 40


def test_what_is_no_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 800)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    for name, sentence in {
        "sound.wav": "has no video stream",
        "text.mp4": "cannot be read as a video: Invalid data",
        "empty": "has no JPEG or PNG frames",
        "nothing.mp4": "there is no source .*; valid: a folder",
    }.items():
        with pytest.raises(BenchError, match=sentence):
            open_source(str(tmp_path / name))


def test_two_frames_with_one_name_are_refused(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        Image.fromarray(pictures(1)[0]).save(tmp_path / f"1.{suffix}")
    with pytest.raises(BenchError, match=r"1\.jpg and 1\.png .* have one name"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("broken", ["size", "bytes"])
def test_a_bad_frame_comes_after_the_good_ones(broken: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", pictures(4))
    if broken == "size":
        Image.fromarray(pictures(1, 20, 30)[0]).save(folder / "3.png")
    else:
        (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    frames = open_source(str(folder)).frames
    assert len(list(itertools.islice(frames, 3))) == 3
    sentence = {"size": "is 20 x 30, but its video began with 48 x 64", "bytes": "cannot be read"}
    with pytest.raises(BenchError, match=rf"3\.png {sentence[broken]}"):
        next(frames)


class FakeCapture:
    """A camera of three frames, blue in OpenCV's order of channels."""

    def __init__(self, index: int) -> None:
        self.left = 3

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return True

    def set(self, key: int, value: float) -> bool:
        return True

    def get(self, key: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return self.left >= 0, np.full((4, 6, 3), (255, 0, 0), np.uint8)

    def release(self) -> None:
        self.left = 0


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    source = open_source("0")
    assert (source.name, source.length, source.live, source.rate) == ("camera-0", None, True, 25)
    read = list(itertools.islice(source.frames, 3))
    assert read[0].time == 0 < read[1].time < read[2].time
    assert read[0].pixels[0, 0].tolist() == [0, 0, 255]
    with pytest.raises(BenchError, match="camera 0 gives no more frames, after 3"):
        next(source.frames)


def test_a_camera_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BenchError, match="camera 987 cannot be opened"):
        open_source("987")
    assert capfd.readouterr().err == ""
