"""Mapping tables on small examples: order, numbers in names, joining, and the way back."""

from __future__ import annotations

import pytest
import torch

from videomt_bench.weights.identify import FAMILIES
from videomt_bench.weights.rules import (
    ONE_MORE_AXIS,
    OUTER_THIRDS,
    SAME,
    THIRDS,
    Form,
    Layout,
    Rule,
    Unused,
    layout,
)

A, B, C = (torch.full((2, 3), float(i)) for i in range(3))


def test_numbers_and_ends_of_names_are_kept() -> None:
    rules = layout([("a.{i}.x.{j}.{p}", "b.{j}.{i}.{p}"), ("a.{i}.{rest}", "c.{i}.{rest}")])
    renamed = rules.to_ours({"a.10.x.2.weight": A, "a.3.y.z": B, "a.3.x.1.mean": C, "d": A})
    assert renamed.state.keys() == {"b.2.10.weight", "c.3.y.z", "c.3.x.1.mean"}
    assert renamed.unknown == ("d",)
    assert rules.to_theirs(renamed.state).state.keys() == {
        "a.10.x.2.weight",
        "a.3.y.z",
        "a.3.x.1.mean",
    }


def test_dots_are_dots() -> None:
    assert layout([("a.b", "c")]).to_ours({"axb": A}).unknown == ("axb",)


def test_the_first_rule_decides() -> None:
    rules = layout([("a.{i}.z", "first"), ("a.{rest}", "second")])
    assert rules.to_ours({"a.1.z": A}).state.keys() == {"first"}


@pytest.mark.parametrize(
    ("form", "theirs"),
    [
        (SAME, [A]),
        (THIRDS, [A, B, C]),
        (ONE_MORE_AXIS, [A]),
        (OUTER_THIRDS, [torch.tensor([1.0, 2.0, 0.0, 0.0, 5.0, 6.0])]),
    ],
)
def test_forms_and_their_inverses(form: Form, theirs: list[torch.Tensor]) -> None:
    ours = form.to_ours(theirs)
    back = form.to_theirs(ours)
    assert len(back) == len(theirs)
    assert all(torch.equal(x, y) for x, y in zip(back, theirs, strict=True))


def test_what_is_joined() -> None:
    rules = layout([], Rule(("q.{i}", "k.{i}", "v.{i}"), ("qkv.{i}",), THIRDS))
    state = {"v.1": C, "q.1": A, "k.1": B, "q.2": A, "k.2": B}
    renamed = rules.to_ours(state)
    assert torch.equal(renamed.state["qkv.1"], torch.cat([A, B, C]))
    assert renamed.state.keys() == {"qkv.1"}
    assert set(renamed.unknown) == {"q.2", "k.2"}


def test_two_names_for_one_tensor_do_not_hide_each_other() -> None:
    rules = layout([("new", "ours")], Rule(("old",), ("ours",), one_way=True))
    for state in ({"new": A, "old": B}, {"old": B, "new": A}):
        renamed = rules.to_ours(state)
        assert len(renamed.state) == len(renamed.unknown) == 1
    assert rules.to_theirs({"ours": A}).state.keys() == {"new"}


def test_what_is_not_needed() -> None:
    rules = layout([("a", "b")], Unused("token", lambda s: 2 * s["b"]), Unused("counter"))
    renamed = rules.to_ours({"a": A, "token": B, "counter": C})
    assert set(renamed.unused) == {"token", "counter"}
    assert renamed.unknown == ()
    written = rules.to_theirs({"b": B}).state
    assert written.keys() == {"a", "token"}
    assert torch.equal(written["token"], 2 * B)


def test_prefixes_and_sums() -> None:
    rules = layout([("a", "b")], Unused("t")).within("x.", "y.") + Layout((), (Unused("u"),))
    renamed = rules.to_ours({"x.a": A, "x.t": B, "u": C})
    assert renamed.state.keys() == {"y.b"}
    assert set(renamed.unused) == {"x.t", "u"}


def test_no_family_has_a_rule_that_another_hides() -> None:
    """Two rules of one family never read or write the same template."""
    for family in FAMILIES:
        rules = family.layout.rules
        theirs = [t for r in rules for t in r.theirs]
        ours = [t for r in rules if not r.one_way for t in r.ours]
        assert len(theirs) == len(set(theirs)), family.name
        assert len(ours) == len(set(ours)), family.name
