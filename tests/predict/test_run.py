"""Whole predictions: their folder, and every way in which they can end early."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest
from PIL import Image
from tiny_videos import pictures, source_of, tiny_predictor

from videomt_bench.errors import BenchError
from videomt_bench.predict.outputs import Wanted, check_folder
from videomt_bench.predict.run import predict
from videomt_bench.predict.source import Source, SourceFrame
from videomt_bench.predict.stopping import heeding_signals

BOTH = Wanted(video=True, images=True)


def _then(source: Source, count: int, act: object) -> Source:
    """A source that, after ``count`` frames, calls something or raises it."""

    def frames() -> Iterator[SourceFrame]:
        for i, frame in enumerate(source.frames):
            if i == count:
                if isinstance(act, BaseException):
                    raise act
                act()  # type: ignore[operator]
            yield frame

    return replace(source, frames=frames())


def _check_whole(folder: Path, count: int) -> None:
    """All files of a prediction of instances are sound and have so many frames."""
    lines = (folder / "frames.jsonl").read_text().splitlines()
    assert [json.loads(x)["frame"] for x in lines] == list(range(count))
    tracks = json.loads((folder / "results.json").read_text())
    assert tracks
    assert all(len(track["segmentations"]) == count for track in tracks)
    with av.open(str(folder / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.frames) == ("h264", count)
        assert sum(1 for _ in container.decode(stream)) == count
    images = sorted((folder / "overlays").iterdir())
    assert len(images) == count
    with Image.open(images[0]) as image:
        assert image.size == (512, 384)
    assert json.loads((folder / "prediction.json").read_text())["frames"] == count
    assert not list(folder.rglob(".*"))


def test_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    document = predict(
        tiny_predictor(), source_of(pictures(6)), tmp_path / "a", BOTH,
        report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert (document["state"], document["reason"]) == ("completed", None)
    assert seen == [(t, 6) for t in range(1, 7)]
    _check_whole(tmp_path / "a", 6)
    assert document == json.loads((tmp_path / "a" / "prediction.json").read_text())


def test_no_more_than_asked_for(tmp_path: Path) -> None:
    document = predict(tiny_predictor(), source_of(pictures(9)), tmp_path / "a", BOTH, limit=4)
    assert document["state"] == "completed"
    _check_whole(tmp_path / "a", 4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    source = _then(source_of(pictures(50)), 5, lambda: os.kill(os.getpid(), number))
    with heeding_signals() as stop:
        document = predict(tiny_predictor(), source, tmp_path / "a", BOTH, stop=stop)
    assert document["state"] == "stopped"
    _check_whole(tmp_path / "a", 6)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    source = _then(source_of(pictures(50)), 2, twice)
    with heeding_signals() as stop, pytest.raises(KeyboardInterrupt):
        predict(tiny_predictor(), source, tmp_path / "a", BOTH, stop=stop)


@pytest.mark.parametrize("window", [1, 4])
def test_a_source_that_breaks(window: int, tmp_path: Path) -> None:
    """The frames before it are all predicted, also those that waited for a full window."""
    predictor = tiny_predictor()
    predictor = replace(predictor, settings=replace(predictor.settings, window=window))
    source = _then(source_of(pictures(9)), 6, BenchError("the film tore"))
    document = predict(predictor, source, tmp_path / "a", BOTH)
    assert (document["state"], document["reason"]) == ("broken", "the film tore")
    _check_whole(tmp_path / "a", 6)


def test_a_source_without_a_frame_leaves_nothing(tmp_path: Path) -> None:
    source = _then(source_of(pictures(2)), 0, BenchError("the film tore"))
    with pytest.raises(BenchError, match="the film tore"):
        predict(tiny_predictor(), source, tmp_path / "a", BOTH)
    assert not (tmp_path / "a").exists()


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifth PNG fails; the other files are finished and sound."""
    from videomt_bench.predict import outputs

    real, count = outputs.save_png, iter(range(100))

    def full(path: Path, pixels: object) -> None:
        if next(count) == 4:
            raise BenchError(f"cannot write {path}: No space left on device")
        real(path, pixels)

    monkeypatch.setattr(outputs, "save_png", full)
    document = predict(tiny_predictor(), source_of(pictures(9)), tmp_path / "a", BOTH)
    assert document["state"] == "broken"
    assert "No space left" in document["reason"]
    assert len(json.loads((tmp_path / "a" / "results.json").read_text())[0]["segmentations"]) == 5
    with av.open(str(tmp_path / "a" / "overlay.mp4")) as container:
        assert container.streams.video[0].frames == 4


def test_which_folders_may_be_used(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", False)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    for overwrite in (False, True):
        with pytest.raises(BenchError, match="mine is"):
            check_folder(tmp_path / "mine", overwrite)
    predict(tiny_predictor(), source_of(pictures(3)), tmp_path / "a", BOTH)
    with pytest.raises(BenchError, match=r"a is there already; .* --overwrite"):
        check_folder(tmp_path / "a", False)
    check_folder(tmp_path / "a", True)
    predict(tiny_predictor(), source_of(pictures(2)), tmp_path / "a", BOTH)
    _check_whole(tmp_path / "a", 2)
