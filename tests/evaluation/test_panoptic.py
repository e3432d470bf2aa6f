import numpy as np
import pytest
from nasty_panoptic import Data, arithmetic_data, edit, nasty_data
from slow_panoptic import slow_metrics

from videomt_bench.data.vipseg_classes import CLASSES, STUFF, THINGS
from videomt_bench.evaluation import panoptic_counts
from videomt_bench.evaluation.panoptic import score_vipseg, summarize

# what the official VIPSeg scripts say of arithmetic_data()
OFFICIAL = {
    "VPQ1": 0.423037615416683,
    "VPQ1_thing": 0.3993438371614939,
    "VPQ1_stuff": 0.4585782827994666,
    "VPQ2": 0.44133934128400465,
    "VPQ2_thing": 0.42013334280677456,
    "VPQ2_stuff": 0.47314833899984987,
    "VPQ4": 0.44893696646497566,
    "VPQ4_thing": 0.4509448620820618,
    "VPQ4_stuff": 0.4459251230393464,
    "VPQ6": 0.5261589372452264,
    "VPQ6_thing": 0.5413225523109176,
    "VPQ6_stuff": 0.5034135146466898,
    "VPQ8": 0.5715205237616188,
    "VPQ8_thing": 0.5694236687153108,
    "VPQ8_stuff": 0.5746658063310807,
    "STQ": 0.37551330607986566,
    "AQ": 0.36450760194724857,
    "SQ": 0.3868513092449519,
}
SKY, WALL, CAT, DOG = 3, 0, 7, 60


def score(root, data, **options):
    return score_vipseg(*data.write(root), **options)


def frame(pixels, crowd=(), **categories):
    """One frame from rows of digits; ``_3=SKY`` says that segment 3 is sky."""
    ids = np.array([[int(digit) for digit in row] for row in pixels.split()])
    info = [
        {
            "id": int(name[1:]),
            "category_id": category,
            "iscrowd": int(int(name[1:]) in crowd),
            "area": int((ids == int(name[1:])).sum()),
        }
        for name, category in categories.items()
    ]
    return ids, info


def one_video(truth, predicted):
    data = Data()
    data.truth["video"], data.predicted["video"] = truth, predicted
    return data


@pytest.mark.parametrize("seed", range(12))
def test_nasty_videos_agree_with_the_formulas(tmp_path, seed):
    data = nasty_data(seed)
    assert score(tmp_path, data).metrics == pytest.approx(slow_metrics(data), abs=1e-9)


def test_frames_of_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(panoptic_counts, "BLOCK", 5)
    data = nasty_data(0)
    assert score(tmp_path, data).metrics == pytest.approx(slow_metrics(data), abs=1e-9)


def test_official_values(tmp_path):
    metrics = score(tmp_path, arithmetic_data()).metrics
    assert {name: metrics[name] for name in OFFICIAL} == pytest.approx(OFFICIAL, abs=1e-9)
    assert metrics["AQ_all_things"] != pytest.approx(metrics["AQ"])


@pytest.mark.parametrize("seed", [1, 2])
def test_any_multiset_of_videos(tmp_path, seed):
    data = nasty_data(seed, videos=4)
    stats = score(tmp_path, data).stats
    names = stats.video_names.tolist()
    assert names == sorted(data.truth)
    for chosen in ([0], [3, 1], [2, 2, 2, 0], [1, 0, 3, 2, 1]):
        expected = slow_metrics(data, [names[i] for i in chosen])
        assert summarize(stats, chosen) == pytest.approx(expected, abs=1e-9)


def test_no_videos_have_no_metrics(tmp_path):
    stats = score(tmp_path, nasty_data(0)).stats
    assert set(summarize(stats, []).values()) == {None}


def test_perfect_predictions(tmp_path):
    truth = [frame("1122 1122 3300", _3=SKY, _1=CAT, _2=DOG)] * 8
    predicted = [frame("5566 5566 7700", _5=CAT, _6=DOG, _7=SKY)] * 8
    metrics = score(tmp_path, one_video(truth, predicted)).metrics
    assert metrics == dict.fromkeys(metrics, 1.0)


def test_a_track_that_switches_its_id_loses_in_windows(tmp_path):
    truth = [frame("11 33", _3=SKY, _1=CAT)] * 2
    predicted = [frame("11 33", _3=SKY, _1=CAT), frame("22 33", _3=SKY, _2=CAT)]
    metrics = score(tmp_path, one_video(truth, predicted)).metrics
    assert metrics["VPQ1"] == 1
    # one half of the tube does not match: two false positives and a miss
    assert metrics["VPQ2_thing"] == 0
    assert metrics["VPQ2_stuff"] == 1
    assert metrics["VPQ2"] == 0.5
    assert metrics["VPQ4"] is None
    assert metrics["VPQ"] is None
    assert metrics["AQ"] == 0.5
    assert metrics["STQ"] == pytest.approx(0.5**0.5)


def test_two_habits_of_the_official_stq(tmp_path):
    truth = [frame("1122 1122 3333", _1=CAT, _2=DOG, _3=SKY)]
    predicted = [frame("1122 1122 3330", _1=CAT, _2=DOG, _3=SKY)]
    predicted[0][0][0, 0] = 2
    predicted[0][0][0, 2] = 0
    metrics = score(tmp_path, one_video(truth, predicted)).metrics
    cat, dog, sky = 3 / 4, 3 / 5, 3 / 4
    assert metrics["SQ_without_void_class"] == pytest.approx((cat + dog + sky) / 3)
    assert metrics["SQ"] == pytest.approx((cat + dog + sky) / 4)
    # without the cat, the predicted dog has 3 pixels; with it, 4, one of them on the cat
    alone = 3 / 4 * 3 / 4
    both = (3 / 4 * 3 / 4 + 1 / 4 * 1 / 7 + 3 / 4 * 3 / 5) / 2
    assert metrics["AQ"] == pytest.approx(alone)
    assert metrics["AQ_all_things"] == pytest.approx(both)
    assert metrics["STQ_corrected"] == pytest.approx(
        (metrics["AQ_all_things"] * metrics["SQ_without_void_class"]) ** 0.5
    )
    assert metrics["STQ_all_things"] == pytest.approx((both * metrics["SQ"]) ** 0.5)
    assert metrics["STQ_without_void_class"] == pytest.approx(
        (alone * metrics["SQ_without_void_class"]) ** 0.5
    )


@pytest.mark.parametrize(
    ("truth", "false_positives"),
    [
        (frame("1110 3333", _1=DOG, _3=SKY), 1),
        (frame("1000 3333", _1=DOG, _3=SKY), 0),
        (frame("1222 3333", crowd=(2,), _1=DOG, _2=CAT, _3=SKY), 0),
        (frame("1222 3333", crowd=(2,), _1=DOG, _2=DOG, _3=SKY), 1),
        # of two crowds of a category, the last one listed counts
        (frame("1224 3333", crowd=(2, 4), _1=DOG, _4=CAT, _2=CAT, _3=SKY), 1),
        (frame("2224 3333", crowd=(2, 4), _4=CAT, _2=CAT, _3=SKY), 0),
        (frame("2224 3333", crowd=(2, 4), _2=CAT, _4=CAT, _3=SKY), 1),
    ],
)
def test_predictions_on_void_and_crowd_are_ignored(tmp_path, truth, false_positives):
    predicted = frame("5555 3333", _5=CAT, _3=SKY)
    stats = score(tmp_path, one_video([truth], [predicted])).stats
    cat = stats.category_ids.tolist().index(CAT)
    assert stats.matches[0, 0, cat].tolist() == [0, false_positives, 0]


def test_areas_of_the_truth_file_count(tmp_path):
    truth = frame("1100 3333", _1=CAT, _3=SKY)
    truth[1][0]["area"] = 6
    predicted = frame("1155 3333", _1=CAT, _3=SKY, _5=DOG)
    stats = score(tmp_path, one_video([truth], [predicted])).stats
    cat = stats.category_ids.tolist().index(CAT)
    assert stats.matches[0, 0, cat].tolist() == [0, 1, 1]


def test_empty_predictions(tmp_path):
    truth = [frame("1122 3333", _1=CAT, _2=DOG, _3=SKY)] * 2
    metrics = score(tmp_path, one_video(truth, [frame("0000 0000")] * 2)).metrics
    zeros = {"VPQ1", "VPQ2_thing", "STQ", "AQ", "SQ", "STQ_corrected", "SQ_without_void_class"}
    assert {metrics[name] for name in zeros} == {0.0}


def test_truth_of_void_alone_has_no_metrics(tmp_path):
    metrics = score(tmp_path, one_video([frame("00")], [frame("11", _1=CAT)])).metrics
    assert set(metrics.values()) == {None}


def test_segment_zero_can_be_listed(tmp_path):
    """There the official script stops with an IoU above one."""
    both = [frame("0011 0011", _0=SKY, _1=CAT)]
    metrics = score(tmp_path, one_video(both, both)).metrics
    assert metrics["VPQ1"] == 1
    assert metrics["SQ"] == 1


def test_segment_zero_is_void_too(tmp_path):
    """As in the official script: the dog on it is ignored."""
    truth, predicted = frame("0001", _0=SKY, _1=CAT), frame("2221", _2=DOG, _1=CAT)
    metrics = score(tmp_path, one_video([truth], [predicted])).metrics
    assert metrics["VPQ1_thing"] == 1
    assert metrics["VPQ1_stuff"] == 0


def test_videos_without_things(tmp_path):
    """The official script has an AQ of 0; nothing is there to be measured."""
    both = [frame("1122", _1=SKY, _2=WALL)]
    metrics = score(tmp_path, one_video(both, both)).metrics
    assert (metrics["AQ"], metrics["STQ"], metrics["SQ"]) == (0, 0, 1)
    assert metrics["AQ_all_things"] is None
    assert metrics["STQ_corrected"] is None
    assert metrics["VPQ1_thing"] is None


def test_classes_beyond_those_of_vipseg(tmp_path):
    """There the official script stops with an index error."""
    data = one_video([frame("1122", _1=124, _2=300)], [frame("1120", _1=124, _2=300)])
    data.categories = [{"id": id_, "isthing": 1} for id_ in (124, 255, 300)]
    metrics = score(tmp_path, data).metrics
    assert metrics["SQ_without_void_class"] == 0.75
    assert metrics["VPQ1"] == 0.5


def test_frames_are_paired_by_name(tmp_path):
    paths = nasty_data(3).write(tmp_path)
    expected = score_vipseg(*paths).metrics

    def turn_round(found):
        for video in found["annotations"]:
            video["annotations"].reverse()

    edit(paths[2] / "pred.json", turn_round)
    assert score_vipseg(*paths).metrics == expected


def test_progress(tmp_path):
    calls = []
    score(tmp_path, nasty_data(0), on_progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_classes_of_vipseg():
    assert len(THINGS) == 58
    assert len(STUFF) == 66
    assert set(range(CLASSES)) == THINGS | STUFF
    assert {2, 46, 52, 123} <= THINGS
    assert {0, 45, 53, 121} <= STUFF
