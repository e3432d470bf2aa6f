"""The classes of VIPSeg and VSPW by id (Miao et al., VIPSeg, 2022): 58 things and 66 stuff.

Their names come with the annotation files.
"""

from __future__ import annotations

CLASSES = 124
"""Ids go from 0 to 123."""
THINGS = frozenset(
    (
        *(2, 4, 8, 10, 41, 43, 44),
        *range(46, 53),
        *range(54, 57),
        *range(60, 66),
        *(72, 74),
        *range(76, 80),
        *range(82, 93),
        *range(95, 98),
        *range(99, 103),
        *range(106, 110),
        *range(114, 119),
        *(122, 123),
    )
)
STUFF = frozenset(range(CLASSES)) - THINGS
