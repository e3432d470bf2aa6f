"""Names of components and their order in tables and figures; a report needs no torch for them."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"
ORDER = (
    *("encoder", "adapter", "pixel decoder", "decoder", "heads"),
    *("context features", "re-ID", "tracker", "memory"),
)
"""Components in the order of tables and figures; unknown ones follow by name, then ``other``."""


def ordered(names: Iterable[str]) -> list[str]:
    """Component names in the order of tables and figures."""
    known = {name: i for i, name in enumerate(ORDER)}
    return sorted(set(names), key=lambda n: (n == OTHER, known.get(n, len(known)), n))
