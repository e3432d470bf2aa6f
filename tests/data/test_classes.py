from __future__ import annotations

import pytest

from videomt_bench.data.classes import (
    BENCHMARKS,
    OVIS,
    VIPSEG,
    YTVIS_2019,
    YTVIS_2021,
    Category,
    PanopticCategory,
    check_categories,
    dataset_categories,
    things_first,
)
from videomt_bench.data.vipseg_classes import CLASSES, THINGS
from videomt_bench.errors import BenchError


@pytest.mark.parametrize(
    ("dataset", "count", "some"),
    [
        ("ytvis_2019", 40, {1: "person", 6: "sedan", 24: "fox", 40: "tennis_racket"}),
        ("ytvis_2021", 40, {1: "airplane", 14: "flying_disc", 26: "person", 40: "zebra"}),
        ("ytvis_2022", 40, {1: "airplane", 14: "flying_disc", 26: "person", 40: "zebra"}),
        ("ovis", 25, {1: "Person", 12: "Poultry", 20: "Turtle", 25: "Vehicle"}),
        ("vipseg", 124, {0: "wall", 8: "window", 60: "person", 98: "other_machine", 123: "train"}),
        ("vspw", 124, {0: "wall", 41: "sculpture", 75: "cupboard_or_showcase_or_storage_rack"}),
    ],
)
def test_lists(dataset: str, count: int, some: dict[int, str]) -> None:
    categories = dataset_categories(dataset)
    names = {category.id: category.name for category in categories}
    assert len(categories) == len(names) == len(set(names.values())) == count
    assert {i: names[i] for i in some} == some
    first = 0 if count == 124 else 1
    assert sorted(names) == list(range(first, first + count))


def test_instance_classes_are_in_the_order_of_their_ids() -> None:
    for categories in (YTVIS_2019, YTVIS_2021, OVIS):
        assert [c.id for c in categories] == list(range(1, len(categories) + 1))


def test_things_come_first_each_by_id() -> None:
    ids = [category.id for category in VIPSEG]
    assert len(VIPSEG) == CLASSES
    assert ids[:58] == sorted(THINGS)
    assert ids[58:] == sorted(set(range(124)) - THINGS)
    assert [c.is_thing for c in VIPSEG] == [True] * 58 + [False] * 66
    mixed = [PanopticCategory(i, "", i % 2 == 0) for i in (3, 1, 4, 0)]
    assert [c.id for c in things_first(mixed)] == [0, 4, 1, 3]


def test_categories_of_a_file() -> None:
    for dataset, categories in BENCHMARKS.items():
        check_categories(dataset, categories, "x.json")
    spelled = [Category(c.id, c.name.title().replace("_", "-")) for c in YTVIS_2019]
    spelled[3] = Category(4, "bird")
    check_categories("ytvis_2019", spelled, "x.json")
    with pytest.raises(BenchError, match=r"x\.json .*like ytvis_2019.* 1 is 'airplane', not 'per"):
        check_categories("ytvis_2019", YTVIS_2021, "x.json")
    with pytest.raises(BenchError, match=r"x\.json has 25 .* 1 to 25, but ytvis_2019 has 40"):
        check_categories("ytvis_2019", OVIS, "x.json")
    with pytest.raises(BenchError, match="0 categories with ids none"):
        check_categories("ovis", [], "x.json")


def test_unknown_benchmark() -> None:
    with pytest.raises(BenchError, match="'ytvis_2020'; did you mean"):
        dataset_categories("ytvis_2020")
