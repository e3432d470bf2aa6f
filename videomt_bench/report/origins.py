"""How the runs of one variant are told apart: by where their weights are from, and by settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from videomt_bench.report.records import Group, differing

TESTED, STARTED = "weights", "segmenter_weights"


def distinctions(groups: Sequence[Group]) -> list[str]:
    """In words what each group has that the others of its variant do not.

    Published weights are named by their file; settings are compared among those of one origin.
    """
    origins = [_origin(group) for group in groups]
    words: list[list[str]] = [[name] if name else [] for name in _names(groups)]
    for origin in set(origins):
        own = [i for i, found in enumerate(origins) if found == origin]
        for i, leaves in zip(own, differing([groups[i].spec for i in own]), strict=True):
            words[i] += [f"{k} {v}" for k, v in leaves.items() if not k.endswith(".sha256")]
    return [", ".join(parts) for parts in words]


def _names(groups: Sequence[Group]) -> list[str]:
    """The origin of each group; files of one name are told apart by their content."""
    names = [_name(group) for group in groups]
    contents = [
        _file(group)["sha256"] if name else "" for name, group in zip(names, groups, strict=True)
    ]
    several = Counter(name for name, _ in set(zip(names, contents, strict=True)))
    return [
        f"{name} {content[:8]}" if several[name] > 1 else name
        for name, content in zip(names, contents, strict=True)
    ]


def _name(group: Group) -> str:
    what = {TESTED: "published weights", STARTED: "from the segmenter"}.get(_origin(group), "")
    return f"{what} {PurePath(_file(group)['file']).name}" if what else ""


def _origin(group: Group) -> str:
    """``TESTED``, ``STARTED``, or empty for weights that were trained in both stages."""
    if group.spec.get(TESTED):
        return TESTED
    return STARTED if group.spec["recipe"].get(STARTED) else ""


def _file(group: Group) -> dict[str, Any]:
    """The file of weights, as its first record has it: where it lies is not part of a setting."""
    spec = group.records[0].spec
    return dict(spec.get(TESTED) or spec["recipe"][STARTED])
