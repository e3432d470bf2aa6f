import os
import struct
import zlib

import numpy as np
import pytest
from nasty_panoptic import Data, edit, nasty_data, write_png
from PIL import Image
from slow_panoptic import slow_metrics

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.panoptic import score_vipseg

VIDEO, FRAME = "b_2", "00001"


@pytest.fixture
def data():
    found = nasty_data(21)
    assert all(info for _, info in found.predicted[VIDEO])
    assert len(found.truth[VIDEO]) > 2
    return found


@pytest.fixture
def files(tmp_path, data):
    """truth.json, the folder of its PNGs, the folder of the predictions."""
    return data.write(tmp_path)


def png(folder):
    return folder / VIDEO / f"{FRAME}.png"


def in_predictions(change):
    """A fault in the entry of VIDEO in pred.json."""

    def apply(truth, masks, found):
        def find(content):
            change(next(v for v in content["annotations"] if v["video_id"] == VIDEO))

        edit(found / "pred.json", find)

    return apply


def in_segment(**values):
    def change(video):
        video["annotations"][1]["segments_info"][0].update(values)

    return in_predictions(change)


def in_png(change):
    """A fault in the ids of a predicted PNG."""

    def apply(truth, masks, found):
        path = png(found / "pan_pred")
        rgb = np.asarray(Image.open(path)).astype(np.int64)
        write_png(path, change(rgb @ [1, 256, 65536]))

    return apply


def in_image(change):
    """A predicted PNG saved in another way."""

    def apply(truth, masks, found):
        path = png(found / "pan_pred")
        change(Image.open(path)).save(path)

    return apply


def in_bytes(change):
    def apply(truth, masks, found):
        path = png(found / "pan_pred")
        path.write_bytes(change(path.read_bytes()))

    return apply


def remove_png(truth, masks, found):
    png(found / "pan_pred").unlink()


def remove_video(truth, masks, found):
    edit(found / "pred.json", lambda c: c["annotations"].pop())


def unknown_video(truth, masks, found):
    edit(
        found / "pred.json",
        lambda c: c["annotations"].append({"video_id": "b_3", "annotations": []}),
    )


def repeat_video(truth, masks, found):
    edit(found / "pred.json", lambda c: c["annotations"].append(c["annotations"][0]))


def climb(truth, masks, found):
    edit(
        found / "pred.json",
        lambda c: c["annotations"].append({"video_id": "../b_2", "annotations": []}),
    )


def link_out(truth, masks, found):
    path = png(found / "pan_pred")
    outside = found.parent / "outside.png"
    path.rename(outside)
    os.symlink(outside, path)


def shift(ids):
    return np.where(ids == ids.max(), ids + 1, ids)


FAULTS = {
    "unknown video": (unknown_video, "entries", ["pred.json", "'b_3'", "'b_2'"]),
    "missing video": (remove_video, "videos", ["pred.json", "'b_2'"]),
    "repeated video": (repeat_video, "entries", ["pred.json", "annotations entry 3", "twice"]),
    "video that climbs": (climb, "entries", ["pred.json", "annotations entry 3", "'../b_2'"]),
    "missing frame": (
        in_predictions(lambda v: v["annotations"].pop(1)),
        "frames",
        ["pred.json", VIDEO, FRAME],
    ),
    "unknown frame": (
        in_predictions(
            lambda v: v["annotations"].append({"file_name": "9.jpg", "segments_info": []})
        ),
        "entries",
        ["pred.json", VIDEO, "'9'"],
    ),
    "repeated frame": (
        in_predictions(lambda v: v["annotations"].append(v["annotations"][1])),
        "entries",
        ["pred.json", VIDEO, FRAME, "twice"],
    ),
    "frame that climbs": (
        in_predictions(
            lambda v: v["annotations"].append({"file_name": "../0.png", "segments_info": []})
        ),
        "entries",
        ["pred.json", VIDEO, "'../0.png'"],
    ),
    "frame without segments": (
        in_predictions(lambda v: v["annotations"].append({"file_name": "7.png"})),
        "entries",
        ["pred.json", VIDEO, "segments_info"],
    ),
    "missing PNG": (remove_png, "frames", [f"{FRAME}.png", "missing"]),
    "PNG of another size": (in_image(lambda i: i.crop((0, 0, 2, 3))), "frames", ["3 x 2"]),
    "grey PNG": (in_image(lambda i: i.convert("L")), "frames", [f"{FRAME}.png", "grey", "RGB"]),
    "PNG with alpha": (in_image(lambda i: i.convert("RGBA")), "frames", ["RGBA"]),
    "PNG of a palette": (in_image(lambda i: i.convert("P")), "frames", ["palette"]),
    "not a PNG": (in_bytes(lambda b: b"GIF89a" + b), "frames", [f"{FRAME}.png", "not a PNG"]),
    "cut PNG": (in_bytes(lambda b: b[:-20]), "frames", [f"{FRAME}.png", "damaged"]),
    "link out of the folder": (link_out, "frames", [f"{FRAME}.png", "leaves"]),
    "id that is not listed": (in_png(shift), "ids", [f"{FRAME}.png", "does not list"]),
    "id without pixels": (in_png(lambda ids: ids * 0), "segments", [f"{FRAME}.png", "no pixel"]),
    "unknown category": (in_segment(category_id=5), "segments", ["pred.json", FRAME, "5", "123"]),
    "category of another type": (in_segment(category_id="7"), "segments", ["category_id is '7'"]),
    "segment id too large": (in_segment(id=2**24), "segments", ["16777216", "16777215"]),
    "repeated segment": (
        in_predictions(
            lambda v: v["annotations"][1]["segments_info"].append(
                v["annotations"][1]["segments_info"][0]
            )
        ),
        "segments",
        ["pred.json", FRAME, "twice"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_predictions(files, name):
    fault, kind, words = FAULTS[name]
    fault(*files)
    with pytest.raises(BenchError) as error:
        score_vipseg(*files)
    assert "\n" not in str(error.value)
    assert [word for word in words if word not in str(error.value)] == []

    lenient = score_vipseg(*files, lenient=True)
    assert lenient.skipped[kind] > 0
    assert lenient.faults[0] == str(error.value)


def test_nothing_is_skipped_of_good_files(files):
    result = score_vipseg(*files, lenient=True)
    assert set(result.skipped.values()) == {0}
    assert result.faults == ()
    assert result.metrics == score_vipseg(*files).metrics


def test_a_missing_video_is_left_out(files, data):
    remove_video(*files)
    result = score_vipseg(*files, lenient=True)
    others = [name for name in data.truth if name != VIDEO]
    assert result.skipped["videos"] == 1
    assert result.metrics == pytest.approx(slow_metrics(data, others), abs=1e-9)


def test_windows_do_not_span_a_missing_frame(tmp_path, files, data):
    remove_png(*files)
    result = score_vipseg(*files, lenient=True)
    assert result.stats.frames.sum() == sum(map(len, data.truth.values())) - 1
    parts = Data()
    for store, cut in ((data.truth, parts.truth), (data.predicted, parts.predicted)):
        cut |= store
        frames = cut.pop(VIDEO)
        cut |= {"before": frames[:1], "after": frames[2:]}
    vpq = {k: v for k, v in slow_metrics(parts).items() if k.startswith("VPQ")}
    assert {k: result.metrics[k] for k in vpq} == pytest.approx(vpq, abs=1e-9)


def test_ids_that_are_not_listed_are_void(files, data):
    in_png(shift)(*files)
    in_segment(category_id=5)(*files)
    pixels, info = data.predicted[VIDEO][1]
    lost = {pixels.max(), info[0]["id"]}
    data.predicted[VIDEO][1] = (
        np.where(np.isin(pixels, list(lost)), 0, pixels),
        [segment for segment in info if segment["id"] not in lost],
    )
    result = score_vipseg(*files, lenient=True)
    assert result.metrics == pytest.approx(slow_metrics(data), abs=1e-9)


def test_no_frame_left(files):
    edit(files[2] / "pred.json", lambda content: content.update(annotations=[]))
    with pytest.raises(BenchError, match="no frame"):
        score_vipseg(*files, lenient=True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"annotations": 3}', '{"annotations": [3]}', "\xff"]
)
def test_damaged_prediction_file(files, text):
    (files[2] / "pred.json").write_text(text, encoding="latin-1")
    with pytest.raises(BenchError, match=r"pred\.json"):
        score_vipseg(*files)


def test_no_prediction_file(files):
    (files[2] / "pred.json").unlink()
    with pytest.raises(BenchError, match=r"cannot read .*pred\.json"):
        score_vipseg(*files)


def of_frame(content):
    return content["annotations"][0]["annotations"][0]


TRUTH_FAULTS = {
    "no videos": lambda c: c.update(videos=[]),
    "no categories": lambda c: c.pop("categories"),
    "repeated category": lambda c: c["categories"].append({"id": 7, "isthing": 1}),
    "category without isthing": lambda c: c["categories"][0].pop("isthing"),
    "repeated video": lambda c: c["videos"].append(c["videos"][0]),
    "video that climbs": lambda c: c["videos"][0].update(video_id=".."),
    "no annotations of a video": lambda c: c["annotations"].pop(),
    "no annotations of a frame": lambda c: c["annotations"][1]["annotations"].pop(),
    "more annotations than images": lambda c: c["videos"][1]["images"].pop(),
    "unknown category": lambda c: of_frame(c)["segments_info"][0].update(category_id=5),
    "no area": lambda c: of_frame(c)["segments_info"][0].pop("area"),
    "area that is no number": lambda c: of_frame(c)["segments_info"][0].update(area=float("nan")),
    "crowd that is no flag": lambda c: of_frame(c)["segments_info"][0].update(iscrowd=2),
}


@pytest.mark.parametrize("name", TRUTH_FAULTS)
@pytest.mark.parametrize("lenient", [False, True])
def test_bad_truth_is_never_skipped(files, name, lenient):
    edit(files[0], TRUTH_FAULTS[name])
    with pytest.raises(BenchError, match=r"truth\.json"):
        score_vipseg(*files, lenient=lenient)


def test_area_smaller_than_its_pixels(tmp_path):
    data = Data()
    info = [{"id": 1, "category_id": 7, "area": 2}]
    data.truth["video"] = data.predicted["video"] = [(np.ones((2, 5), np.int64), info)]
    with pytest.raises(BenchError, match=r"truth\.json, video 'video'.*segment 1 "):
        score_vipseg(*data.write(tmp_path))


def test_truth_whose_png_and_json_differ(files):
    write_png(png(files[1]), np.full(np.asarray(Image.open(png(files[1]))).shape[:2], 77))
    with pytest.raises(BenchError, match=r"truth.*00001\.png"):
        score_vipseg(*files)
    skipped = score_vipseg(*files, lenient=True).skipped
    assert skipped["truth_ids"] == 1
    assert skipped["truth_segments"] > 0


def test_ids_of_the_frame_before_are_not_listed(tmp_path):
    data = Data()
    info = [{"id": 1, "category_id": 7, "area": 4}]
    frames = [(np.ones((2, 2), np.int64), info), (np.ones((2, 2), np.int64), [])]
    data.truth["video"], data.predicted["video"] = [frames[0]] * 2, frames
    with pytest.raises(BenchError, match=r"pan_pred.*00001\.png.*does not list: 1"):
        score_vipseg(*data.write(tmp_path))


def test_truth_that_is_not_listed_is_no_void_in_vpq(tmp_path):
    data = Data()
    info = [{"id": 1, "category_id": 7, "area": 4}]
    data.truth["video"] = [(np.full((2, 2), 9), [])]
    data.predicted["video"] = [(np.ones((2, 2), np.int64), info)]
    result = score_vipseg(*data.write(tmp_path), lenient=True)
    assert result.stats.matches.sum((0, 2)).tolist()[0] == [0, 1, 0]
    assert result.metrics["SQ"] is None


def test_every_damaged_byte_is_found(tmp_path):
    data = Data()
    pixels = np.arange(12).reshape(3, 4) * 1000 + 1
    info = [{"id": int(i), "category_id": 7, "area": 1} for i in pixels.ravel()]
    data.truth["video"] = data.predicted["video"] = [(pixels, info)]
    files = data.write(tmp_path)
    path = files[2] / "pan_pred" / "video" / "00000.png"
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        for content in (bytes(damaged), whole[:position]):
            path.write_bytes(content)
            with pytest.raises(BenchError, match="00000"):
                score_vipseg(*files)


def test_a_transparent_colour_changes_nothing(files):
    """The tRNS chunk makes some decoders add a channel."""
    path = png(files[2] / "pan_pred")
    expected, content = score_vipseg(*files).metrics, path.read_bytes()
    chunk = b"tRNS" + bytes(6)
    chunk = struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:33] + chunk + content[33:])
    assert score_vipseg(*files).metrics == expected
