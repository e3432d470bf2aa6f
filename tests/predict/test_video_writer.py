"""Overlay videos, read back by FFmpeg: codec, colours, sizes, times, and after a crash."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from tiny_videos import pictures

from videomt_bench.errors import BenchError
from videomt_bench.predict.video_source import open_video
from videomt_bench.predict.video_writer import VideoWriter


def _written(path: Path, frames: np.ndarray, times: np.ndarray, rate: float = 25) -> Path:
    writer = VideoWriter(path, frames.shape[1:3], rate)
    for frame, time in zip(frames, times, strict=True):
        writer.write(frame, time)
    writer.close()
    return path


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
@pytest.mark.parametrize("rate", [25, 30000 / 1001])
def test_what_players_expect(size: tuple[int, int], rate: float, tmp_path: Path) -> None:
    frames = pictures(70, *size)
    path = _written(tmp_path / "a.mp4", frames, np.arange(70) / rate, rate)
    with av.open(str(path)) as container:
        (stream,) = container.streams
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.frames) == ("h264", "yuv420p", 70)
        assert (context.height, context.width) == (48, 64)
        assert float(stream.average_rate) == pytest.approx(rate, rel=1e-3)
        assert (context.colorspace, context.color_range) == (1, 1)
        assert container.duration / av.time_base == pytest.approx(70 / rate, abs=0.02)
    read = np.stack([f.pixels for f in open_video(path).frames])[:, : size[0], : size[1]]
    assert np.abs(read.astype(int) - frames).mean() < 4
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_colours_come_back(tmp_path: Path) -> None:
    """Large fields, so that the chroma planes at half the size do not matter."""
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:, :32], frame[:, 32:64], frame[:, 64:] = (230, 159, 0), (20, 120, 200), (250, 250, 250)
    path = _written(tmp_path / "a.mp4", np.stack([frame] * 5), np.arange(5) / 25)
    for read in open_video(path).frames:
        for x in (16, 48, 80):
            assert np.abs(read.pixels[32, x].astype(int) - frame[32, x]).max() <= 6


def test_frames_keep_their_times(tmp_path: Path) -> None:
    times = np.array([0, 0.04, 0.5, 0.52, 1.9])
    path = _written(tmp_path / "a.mp4", pictures(5), times)
    np.testing.assert_allclose([f.time for f in open_video(path).frames], times, atol=1e-4)


def test_times_that_stand_still_are_moved_on(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.mp4", pictures(4), np.array([0, 0.1, 0.1, 0.05]))
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 4


def test_what_a_killed_program_leaves_can_be_played(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.mp4", tmp_path / "copy.mp4"
    writer = VideoWriter(path, (48, 64), 10)
    for t, frame in enumerate(pictures(120)):
        writer.write(frame, t / 10)
    copy.write_bytes(path.read_bytes())
    with av.open(str(copy)) as container:
        assert 40 < sum(1 for _ in container.decode(video=0)) < 120
    writer.close()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot write .*no/a\.mp4"):
        VideoWriter(tmp_path / "no" / "a.mp4", (48, 64), 10)
    writer = VideoWriter(tmp_path / "a.mp4", (48, 64), 10)
    with pytest.raises(BenchError, match="does not fit a video of 48 x 64"):
        writer.write(pictures(1, 50, 64)[0], 0)
    writer.write(pictures(1)[0], 0)
    writer.close()
