"""Text of records as every file format can hold it."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """``text`` with spaces for control characters, halves of characters and unassigned codes.

    Line breaks stay. XML forbids the first, and no encoding has the second.
    """
    return "".join(
        " " if c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Cn") else c for c in text
    )
