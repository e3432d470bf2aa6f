"""The classes of the benchmarks in the order of a model's outputs.

Instance data sets number their classes from 1 and keep that order. VIPSeg and VSPW share 124
classes; a model has their things first and then their stuff, each by dataset id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from videomt_bench.data.vipseg_classes import THINGS
from videomt_bench.errors import BenchError, unknown


@dataclass(frozen=True)
class Category:
    """A class by its dataset id; its contiguous index is its position among the categories."""

    id: int
    name: str


@dataclass(frozen=True)
class PanopticCategory(Category):
    """A class that is a thing (countable) or stuff."""

    is_thing: bool


def things_first(categories: Iterable[PanopticCategory]) -> list[PanopticCategory]:
    """The order of a model's classes: things, then stuff, each by dataset id."""
    return sorted(categories, key=lambda category: (not category.is_thing, category.id))


def dataset_categories(dataset: str) -> Sequence[Category]:
    """The classes of a benchmark, in the order of a model's outputs.

    Raises:
        BenchError: no such benchmark.
    """
    if dataset not in BENCHMARKS:
        raise unknown("benchmark", dataset, BENCHMARKS)
    return BENCHMARKS[dataset]


def check_categories(dataset: str, found: Sequence[Category], where: str) -> None:
    """Compare the categories of a file with those of its benchmark.

    Other spellings of some names pass; other ids, or mostly other names, mean other data.

    Raises:
        BenchError: the categories are not those of the benchmark.
    """
    expected = {category.id: category.name for category in dataset_categories(dataset)}
    names = {category.id: category.name for category in found}
    if names.keys() != expected.keys():
        raise BenchError(
            f"{where} has {len(names)} categories with ids {_span(names)}, but {dataset} has "
            f"{len(expected)} with ids {_span(expected)}"
        )
    other = [i for i in sorted(names) if _plain(names[i]) != _plain(expected[i])]
    if 2 * len(other) > len(names):
        i = other[0]
        raise BenchError(
            f"{where} does not look like {dataset}: {len(other)} of its {len(names)} categories "
            f"have other names; {i} is {names[i]!r}, not {expected[i]!r}"
        )


def _span(ids: Iterable[int]) -> str:
    found = sorted(ids)
    return f"{found[0]} to {found[-1]}" if found else "none"


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _numbered(names: str, first: int = 1) -> tuple[Category, ...]:
    return tuple(Category(i, name) for i, name in enumerate(names.split(), start=first))


YTVIS_2019 = _numbered(
    "person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck cat "
    "cow fish train horse turtle bear motorbike giraffe leopard fox deer owl surfboard airplane "
    "truck zebra tiger elephant snowboard boat shark mouse frog eagle earless_seal tennis_racket"
)
YTVIS_2021 = _numbered(
    "airplane bear bird boat car cat cow deer dog duck earless_seal elephant fish flying_disc fox "
    "frog giant_panda giraffe horse leopard lizard monkey motorbike mouse parrot person rabbit "
    "shark skateboard snake snowboard squirrel surfboard tennis_racket tiger train truck turtle "
    "whale zebra"
)
"""Of YT-VIS 2022 too."""
OVIS = _numbered(
    "Person Bird Cat Dog Horse Sheep Cow Elephant Bear Zebra Giraffe Poultry Giant_panda Lizard "
    "Parrot Monkey Rabbit Tiger Fish Turtle Bicycle Motorcycle Airplane Boat Vehicle"
)
_VIPSEG = _numbered(
    "wall ceiling door stair ladder escalator Playground_slide handrail_or_fence window rail "
    "goal pillar pole floor ground grass sand athletic_field road path crosswalk building "
    "house bridge tower windmill well_or_well_lid other_construction sky mountain stone wood "
    "ice snowfield grandstand sea river lake waterfall water billboard_or_Bulletin_Board "
    "sculpture pipeline flag parasol_or_umbrella cushion_or_carpet tent roadblock car bus "
    "truck bicycle motorcycle wheeled_machine ship_or_boat raft airplane tyre traffic_light "
    "lamp person cat dog horse cattle other_animal tree flower other_plant toy ball_net "
    "backboard skateboard bat ball cupboard_or_showcase_or_storage_rack box "
    "traveling_case_or_trolley_case basket bag_or_package trash_can cage plate "
    "tub_or_bowl_or_pot bottle_or_cup barrel fishbowl bed pillow table_or_desk chair_or_seat "
    "bench sofa shelf bathtub gun commode roaster other_machine refrigerator washing_machine "
    "Microwave_oven fan curtain textiles clothes painting_or_poster mirror flower_pot_or_vase "
    "clock book tool blackboard tissue screen_or_television computer printer Mobile_phone "
    "keyboard other_electronic_product fruit food instrument train",
    first=0,
)
VIPSEG = tuple(things_first(PanopticCategory(c.id, c.name, c.id in THINGS) for c in _VIPSEG))
"""Of VSPW too."""
BENCHMARKS: dict[str, Sequence[Category]] = {
    "ytvis_2019": YTVIS_2019,
    "ytvis_2021": YTVIS_2021,
    "ytvis_2022": YTVIS_2021,
    "ovis": OVIS,
    "vipseg": VIPSEG,
    "vspw": VIPSEG,
}
