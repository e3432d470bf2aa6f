"""Mapping tables as data: which tensor there is which tensor here, in both directions.

A name is a template: ``{i}``, ``{j}`` and ``{k}`` stand for numbers, ``{p}`` for ``weight`` or
``bias``, ``{rest}`` for anything. The first rule that matches a name decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

State = dict[str, Tensor]
Fill = Callable[[Mapping[str, Tensor]], Tensor | None]
"""Tensors by our names -> a tensor that only the other layout has, if it has it for these."""

FIELDS = {"i": r"\d+", "j": r"\d+", "k": r"\d+", "p": "weight|bias", "rest": ".+"}


@dataclass(frozen=True)
class Form:
    """How the tensors of one side become those of the other."""

    to_ours: Callable[[Sequence[Tensor]], Sequence[Tensor]]
    to_theirs: Callable[[Sequence[Tensor]], Sequence[Tensor]]


SAME = Form(list, list)
THIRDS = Form(lambda x: [torch.cat(list(x))], lambda x: x[0].chunk(3))
"""Queries, keys and values apart there, and joined by rows here."""
ONE_MORE_AXIS = Form(lambda x: [x[0][None]], lambda x: [x[0][0]])


def _without_keys(x: Sequence[Tensor]) -> Sequence[Tensor]:
    query, key, value = x[0].chunk(3)
    if not key.is_meta and bool(key.any()):
        raise ValueError("a bias of keys is not zero, and DINOv3 has none")
    return query, value


OUTER_THIRDS = Form(_without_keys, lambda x: [torch.cat([x[0], torch.zeros_like(x[0]), x[1]])])
"""Biases of queries, keys and values joined there; here there is none of the keys."""


@dataclass(frozen=True)
class Rule:
    """Tensors there <-> tensors here. ``one_way`` rules read an older name and never write it."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    form: Form = SAME
    one_way: bool = False


@dataclass(frozen=True)
class Unused:
    """A tensor there that no model here needs.

    ``fill`` makes one where the layout is written; without it the layout is written without it.
    """

    theirs: str
    fill: Fill | None = None


@dataclass(frozen=True)
class Renamed:
    """A state dict under other names."""

    state: State
    unused: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Names that no rule knows, or whose companions are missing."""


@dataclass(frozen=True)
class Layout:
    """The names of a family of checkpoints."""

    rules: tuple[Rule, ...]
    unused: tuple[Unused, ...] = ()

    def to_ours(self, state: Mapping[str, Tensor]) -> Renamed:
        """A state dict of this layout by our names.

        Raises:
            ValueError, RuntimeError, IndexError: tensors that cannot be joined or split.
        """
        rules = [(r.theirs, r.ours, r.form.to_ours) for r in self.rules]
        renamed = _rename(state, rules)
        unused = [n for n in renamed.unknown if self._leaves_out(n)]
        unknown = [n for n in renamed.unknown if n not in set(unused)]
        return replace(renamed, unused=tuple(unused), unknown=tuple(unknown))

    def to_theirs(self, state: Mapping[str, Tensor]) -> Renamed:
        """A state dict of ours by the names of this layout, with what only it has.

        Nothing is added to what it has no place for.
        """
        rules = [(r.ours, r.theirs, r.form.to_theirs) for r in self.rules if not r.one_way]
        renamed = _rename(state, rules)
        if renamed.unknown:
            return renamed
        filled = {u.theirs: u.fill(state) for u in self.unused if u.fill is not None}
        added = {name: value for name, value in filled.items() if value is not None}
        return replace(renamed, state=renamed.state | added)

    def has_place(self, name: str) -> bool:
        """Whether a tensor of ours has a name in this layout."""
        return any(
            _match(template, name) is not None
            for rule in self.rules
            if not rule.one_way
            for template in rule.ours
        )

    def within(self, theirs: str = "", ours: str = "") -> Layout:
        """The same layout below these prefixes."""
        rules = (
            replace(
                r,
                theirs=tuple(theirs + x for x in r.theirs),
                ours=tuple(ours + x for x in r.ours),
            )
            for r in self.rules
        )
        unused = (replace(u, theirs=theirs + u.theirs) for u in self.unused)
        return Layout(tuple(rules), tuple(unused))

    def _leaves_out(self, name: str) -> bool:
        return any(_match(u.theirs, name) is not None for u in self.unused)

    def __add__(self, other: Layout) -> Layout:
        return Layout(self.rules + other.rules, self.unused + other.unused)


def layout(names: Iterable[tuple[str, str]], *more: Rule | Unused) -> Layout:
    """A layout from pairs of names, there and here, and from rules that are no mere renaming.

    The latter go first.
    """
    special = tuple(r for r in more if isinstance(r, Rule))
    plain = tuple(Rule((theirs,), (ours,)) for theirs, ours in names)
    return Layout(special + plain, tuple(u for u in more if isinstance(u, Unused)))


def has_name(state: Iterable[str], template: str) -> bool:
    """Whether any name fits the template."""
    return any(_match(template, name) is not None for name in state)


def _rename(
    state: Mapping[str, Tensor],
    rules: Sequence[tuple[tuple[str, ...], tuple[str, ...], Callable]],
) -> Renamed:
    result: State = {}
    used: set[str] = set()
    for name in state:
        if name in used:
            continue
        for before, after, form in rules:
            values = next((v for t in before if (v := _match(t, name)) is not None), None)
            if values is None:
                continue
            names = tuple(t.format(**values) for t in before)
            new = [t.format(**values) for t in after]
            if all(n in state and n not in used for n in names) and result.keys().isdisjoint(new):
                result |= dict(zip(new, form([state[n] for n in names]), strict=True))
                used |= set(names)
            break
    return Renamed(result, unknown=tuple(n for n in state if n not in used))


def _match(template: str, name: str) -> dict[str, str] | None:
    found = _pattern(template).fullmatch(name)
    return None if found is None else found.groupdict()


@cache
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    pieces = [
        f"(?P<{part}>{FIELDS[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts)
    ]
    return re.compile("".join(pieces))
