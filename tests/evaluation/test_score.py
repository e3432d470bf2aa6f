"""Scoring files: occlusion groups of OVIS, YouTube-VIS 2022, lenient reading, progress."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from nasty_videos import encode, nasty_truth
from slow_video_ap import pixel_areas, slow_video_ap

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.occlusion import LABELS, occlusion_score
from videomt_bench.evaluation.score import score_files, score_ytvis, score_ytvis_2022
from videomt_bench.evaluation.video_stats import VideoStats
from videomt_bench.evaluation.ytvis_files import Truth, read_truth, write_predictions


def save_truth(path, truth, labels=None):
    annotations = [
        {
            "id": i + 1,
            "video_id": o.video_id,
            "category_id": o.category_id,
            "iscrowd": int(o.is_crowd),
            "areas": o.areas or pixel_areas(o.segmentations),
            "segmentations": o.segmentations,
        }
        for i, o in enumerate(truth.objects)
    ]
    for annotation, own in zip(annotations, labels or [], strict=False):
        annotation["occlusion"] = own
    data = {
        "videos": [vars(video) for video in truth.videos.values()],
        "categories": [{"id": id_, "name": name} for id_, name in truth.categories.items()],
        "annotations": annotations,
    }
    path.write_text(json.dumps(data))
    return path


def part(truth, ids):
    videos = {id_: truth.videos[id_] for id_ in ids}
    return replace(truth, videos=videos, objects=[o for o in truth.objects if o.video_id in ids])


@pytest.fixture
def files(tmp_path):
    truth, found = nasty_truth(np.random.default_rng(4))
    write_predictions(tmp_path / "results.json", found)
    save_truth(tmp_path / "gt.json", truth)
    ids = list(truth.videos)
    save_truth(tmp_path / "short.json", part(truth, ids[:4]))
    save_truth(tmp_path / "long.json", part(truth, ids[4:]))
    return tmp_path, truth, found


def test_metrics_of_files_and_their_statistics(files, tmp_path):
    folder, truth, found = files
    calls = []
    result = score_ytvis(
        folder / "gt.json",
        folder / "results.json",
        on_progress=lambda *call: calls.append(call),
    )
    assert result.metrics["AP"].value == pytest.approx(slow_video_ap(truth, found)["AP"], abs=1e-12)
    assert (result.skipped, result.faults) == ({"entries": 0}, ())
    assert calls[-1] == (6, 6)
    kept = tmp_path / "stats.npz"
    assert score_files(folder / "gt.json", folder / "results.json", kept) == result.metrics
    assert len(VideoStats.load(kept)) == len(result.stats["all"])


def test_ytvis_2022_is_each_list_on_its_own(files):
    folder, truth, found = files
    lists = folder / "gt.json", folder / "short.json", folder / "long.json"
    calls = []
    result = score_ytvis_2022(
        *lists, folder / "results.json", on_progress=lambda *call: calls.append(call)
    )
    ids = list(truth.videos)
    for letter, chosen in (("S", ids[:4]), ("L", ids[4:])):
        own = [p for p in found if p.video_id in chosen]
        expected = slow_video_ap(part(truth, chosen), own)
        for name in ("AP", "AP50", "AP75", "AR1", "AR10"):
            score = result.metrics[f"{name}_{letter}"]
            assert score.value == pytest.approx(expected[name], abs=1e-12)
            assert score.n == len(chosen)
    metrics = result.metrics
    assert metrics["mAP"].value == (metrics["AP_S"].value + metrics["AP_L"].value) / 2
    assert metrics["mAP"].n == 6
    assert calls == [(i, 6) for i in range(1, 7)]
    assert set(result.stats) == {"short", "long"}


def test_ytvis_2022_needs_no_annotations_of_all_videos(files):
    folder, truth, _ = files
    data = json.loads((folder / "gt.json").read_text())
    del data["annotations"]
    (folder / "valid.json").write_text(json.dumps(data))
    rest = folder / "short.json", folder / "long.json", folder / "results.json"
    without = score_ytvis_2022(folder / "valid.json", *rest)
    assert without.metrics == score_ytvis_2022(folder / "gt.json", *rest).metrics
    with pytest.raises(BenchError, match="no list 'annotations'"):
        score_ytvis_2022(folder / "gt.json", folder / "valid.json", *rest[1:])
    stranger = {9999: replace(truth.videos[min(truth.videos)], id=9999)}
    save_truth(folder / "short.json", Truth(stranger, truth.categories, []))
    with pytest.raises(BenchError, match="video 9999 is not"):
        score_ytvis_2022(folder / "gt.json", *rest)


def test_ytvis_2022_without_objects_in_a_list_has_no_mean(files):
    folder, truth, _ = files
    save_truth(folder / "long.json", replace(part(truth, list(truth.videos)[4:]), objects=[]))
    lists = folder / "gt.json", folder / "short.json", folder / "long.json"
    metrics = score_ytvis_2022(*lists, folder / "results.json").metrics
    assert metrics["AP_L"].value is metrics["mAP"].value is None
    assert metrics["AP_S"].value is not None


NO, SLIGHT, SEVERE = LABELS


@pytest.mark.parametrize(
    ("labels", "score"),
    [
        ([NO], 0),
        ([SLIGHT, None, NO], 0.25),  # one of two
        ([NO, SEVERE, NO], 0.375),  # two of three
        ([SEVERE, SEVERE, SLIGHT, NO, NO, NO], (0.75 + 0.75 + 0.25) / 3),
        ([None, SEVERE], 0.75),
        ([None, None], None),
        ([], None),
    ],
)
def test_occlusion_is_the_mean_of_the_worse_half(labels, score):
    assert occlusion_score(labels) == score


def test_occlusion_labels_of_a_file(tmp_path):
    truth, found = nasty_truth(np.random.default_rng(8), videos=8)
    rng = np.random.default_rng(0)
    values = [None, *LABELS]
    labels = [
        [values[i] for i in rng.integers(0, 4, truth.videos[o.video_id].length)]
        for o in truth.objects
    ]
    save_truth(tmp_path / "gt.json", truth, labels)
    write_predictions(tmp_path / "results.json", found)
    metrics = score_ytvis(tmp_path / "gt.json", tmp_path / "results.json").metrics
    objects = [
        replace(o, occlusion=occlusion_score(own))
        for o, own in zip(truth.objects, labels, strict=True)
    ]
    expected = slow_video_ap(replace(truth, objects=objects), found)
    for name in ("AP", "AP_so", "AP_mo", "AP_ho", "AR_so", "AR_mo", "AR_ho"):
        assert metrics[name].value == pytest.approx(expected[name], abs=1e-12), name
    assert None not in (metrics["AP_so"].value, metrics["AP_mo"].value, metrics["AP_ho"].value)
    assert "AP_so" not in score_ytvis_without_labels(tmp_path, truth)


def score_ytvis_without_labels(folder, truth):
    save_truth(folder / "plain.json", truth)
    return score_ytvis(folder / "plain.json", folder / "results.json").metrics


def test_bad_occlusion_labels(tmp_path):
    truth, _ = nasty_truth(np.random.default_rng(8))
    lengths = [truth.videos[o.video_id].length for o in truth.objects]
    good = [[NO] * n for n in lengths]
    for labels, message in (
        ([["heavy"] * n for n in lengths], "occlusion is 'heavy'; valid: no_occlusion"),
        ([[[]] * n for n in lengths], "occlusion is"),
        ([NO] * len(lengths), "not a list of"),
        ([own[1:] for own in good], "not a list of"),
        (good[:-1], f"entry {len(good) - 1}: no 'occlusion'"),
    ):
        with pytest.raises(BenchError, match=message):
            read_truth(save_truth(tmp_path / "gt.json", truth, labels))


def bad_entries(entry):
    mask = encode(np.ones((3, 2)))
    other = [mask] * len(entry["segmentations"])
    changes = [
        {"video_id": 10**6},
        {"video_id": "../secret"},
        {"category_id": 99},
        {"category_id": None},
        {"score": float("nan")},
        {"score": "high"},
        {"segmentations": None},
        {"segmentations": [None] * 99},
        {"segmentations": other},
        {"segmentations": [{**m, "counts": "~~"} if m else m for m in entry["segmentations"]]},
        {"segmentations": [{**m, "counts": "P"} if m else m for m in entry["segmentations"]]},
        {"segmentations": [{**m, "counts": "1"} if m else m for m in entry["segmentations"]]},
    ]
    return [*({**entry, **change} for change in changes), 5, [], "../x", None]


def test_lenient_skips_and_counts(files):
    folder, _, _ = files
    truth, path = folder / "gt.json", folder / "results.json"
    good = json.loads(path.read_text())
    clean = score_ytvis(truth, path)
    whole = next(entry for entry in good if all(entry["segmentations"]))
    bad = bad_entries(whole)
    for entry in bad:
        path.write_text(json.dumps([*good, entry]))
        with pytest.raises(BenchError, match=f"entry {len(good)}: "):
            score_ytvis(truth, path)
    mixed = []
    for i, entry in enumerate(bad):
        mixed += [*good[i : i + 1], entry]
    path.write_text(json.dumps(mixed + good[len(bad) :]))
    result = score_ytvis(truth, path, lenient=True)
    assert result.skipped == {"entries": len(bad)}
    assert len(result.faults) == len(bad)
    assert all("results.json, entry " in fault for fault in result.faults)
    assert result.metrics == clean.metrics
    assert clean.skipped == {"entries": 0}
    lists = truth, folder / "short.json", folder / "long.json"
    assert score_ytvis_2022(*lists, path, lenient=True).skipped == {"entries": len(bad)}


def test_lenient_is_not_lenient_with_files(files):
    folder, _, _ = files
    truth, path = folder / "gt.json", folder / "results.json"
    good = path.read_text()
    for text in ("", "{}", "5", good[:-20]):
        path.write_text(text)
        with pytest.raises(BenchError):
            score_ytvis(truth, path, lenient=True)
    path.write_text(good)
    data = json.loads(truth.read_text())
    data["annotations"][-1]["segmentations"][0] = {"size": [1, 1], "counts": "1"}
    truth.write_text(json.dumps(data))
    with pytest.raises(BenchError, match="annotations entry"):
        score_ytvis(truth, path, lenient=True)
