"""Result files, read by the benchmarks' own scorers, for all three tasks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from tiny_videos import pictures, source_of, tiny_predictor

from videomt_bench.evaluation.ytvis_files import Truth, Video, read_predictions
from videomt_bench.predict import results, segments
from videomt_bench.predict.outputs import Wanted
from videomt_bench.predict.run import predict

COUNT = 7
PLAIN = Wanted(video=False)


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("at_once", [64, 2])
def test_instances(at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracks are gathered in passes of ``at_once``; YouTube-VIS' reader takes the file."""
    monkeypatch.setattr(results, "OPEN_FILES", at_once)
    predictor = tiny_predictor(threshold=0.6, horizon=1)
    document = predict(predictor, source_of(pictures(COUNT)), tmp_path / "a", PLAIN)
    lines = _lines(tmp_path / "a")
    assert [(x["frame"], x["name"], x["time"]) for x in lines] == [
        (t, f"{t:06d}", t / 10) for t in range(COUNT)
    ]
    truth = Truth({1: Video(1, 48, 64, COUNT)}, {i: str(i) for i in range(1, 5)}, [])
    read = read_predictions(tmp_path / "a" / "results.json", truth)
    tracks = sorted({t["track"] for x in lines for t in x["tracks"]})
    assert len(read) == len(tracks) > 2
    raw = json.loads((tmp_path / "a" / "results.json").read_text())
    masks = [mask for entry in raw for mask in entry["segmentations"]]
    assert all(mask is None or set(mask) == {"size", "counts"} for mask in masks)
    absent = 0
    for track, prediction in zip(tracks, read, strict=True):
        for line, mask in zip(lines, prediction.segmentations, strict=True):
            shown = {t["track"]: t["segmentation"] for t in line["tracks"]}
            assert mask == shown.get(track)
            absent += mask is None
    assert absent
    boxes = [(t["bbox"], t["segmentation"]) for x in lines for t in x["tracks"]]
    for box, code in boxes:
        rows, columns = np.nonzero(coco_mask.decode(code))
        assert box == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert document["files"] == ["frames.jsonl", "results.json"]


def test_panoptic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PNGs and ``pred.json`` name the same segments, in the same pixels."""
    monkeypatch.setattr(segments, "OVERLAP_THRESHOLD", 0.05)
    predictor = tiny_predictor("panoptic", threshold=0.4)
    predict(predictor, source_of(pictures(COUNT)), tmp_path / "a", PLAIN)
    folder = tmp_path / "a" / "predictions"
    (video,) = json.loads((folder / "pred.json").read_text())["annotations"]
    assert video["video_id"] == "video"
    total = 0
    for t, frame in enumerate(video["annotations"]):
        assert frame["file_name"] == f"{t:06d}.png"
        with Image.open(folder / "pan_pred" / "video" / frame["file_name"]) as image:
            pixels = np.asarray(image).astype(int)
        ids = pixels @ [1, 256, 65536]
        assert set(np.unique(ids)) - {0} == {s["id"] for s in frame["segments_info"]}
        for segment in frame["segments_info"]:
            rows, columns = np.nonzero(ids == segment["id"])
            assert segment["area"] == len(rows)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert segment["bbox"] == box
            assert segment["isthing"] == (segment["category_id"] < 12)
            total += 1
    assert total > COUNT


def test_ids_beyond_a_byte(tmp_path: Path) -> None:
    from tiny_videos import tiny_classes

    from videomt_bench.predict.segments import FrameSegments, Segment

    found = FrameSegments([Segment(70000, 0, True)], np.ones((4, 6), np.uint16))
    results.write_map(tmp_path / "a.png", found, tiny_classes("panoptic"))
    with Image.open(tmp_path / "a.png") as image:
        assert image.getpixel((0, 0)) == (70000 % 256, 70000 // 256 % 256, 1)


def test_semantic(tmp_path: Path) -> None:
    predictor = tiny_predictor("semantic")
    predict(predictor, source_of(pictures(COUNT)), tmp_path / "a", PLAIN)
    files = sorted((tmp_path / "a" / "predictions" / "video").iterdir())
    assert len(files) == COUNT
    for file, line in zip(files, _lines(tmp_path / "a"), strict=True):
        with Image.open(file) as image:
            assert image.mode == "L"
            values, areas = np.unique(np.asarray(image), return_counts=True)
        assert [(s["category_id"], s["area"]) for s in line["segments"]] == list(
            zip(values.tolist(), areas.tolist(), strict=True)
        )
        assert set(values) <= {10, 11, 12, 13}


def test_a_torn_last_line_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").write_text('{"frame": 0}\n{"fra')
    assert list(results.read_lines(tmp_path)) == [{"frame": 0}]


def test_without_any_track(tmp_path: Path) -> None:
    predict(tiny_predictor(threshold=1.0), source_of(pictures(2)), tmp_path / "a", PLAIN)
    assert json.loads((tmp_path / "a" / "results.json").read_text()) == []
