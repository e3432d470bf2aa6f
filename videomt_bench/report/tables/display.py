"""What a printed table is: cells with marks, columns in groups, notes, and how numbers look."""

from __future__ import annotations

import math
from dataclasses import dataclass

from videomt_bench.report.statistics.estimates import Interval

DASH = "–"
MINUS = "−"
DAGGERS = ("†", "‡", "§", "¶")


@dataclass(frozen=True)
class Cell:
    """A value, its interval or deviation, and the marks of its notes."""

    text: str
    marks: tuple[str, ...] = ()
    spread: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its title, what its header adds in brackets, and the group it stands under."""

    key: str
    title: str
    details: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Display:
    """A table as printed: ``rows[i][j]`` stands under ``columns[j]``."""

    columns: list[Column]
    rows: list[list[Cell]]


class Notes:
    """Hands out one mark per note: a letter, or a dagger for a protocol that differs."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}
        self._letters = 0
        self._daggers = 0

    def letter(self, text: str) -> str:
        """The letter of a note: a to z, then aa, ab, …"""
        if text not in self._marks:
            turn, place = divmod(self._letters, 26)
            self._letters += 1
            self._marks[text] = (chr(96 + turn) if turn else "") + chr(97 + place)
        return self._marks[text]

    def dagger(self, text: str) -> str:
        """The dagger of a protocol: †, ‡, §, ¶, ††, …"""
        if text not in self._marks:
            turn, place = divmod(self._daggers, len(DAGGERS))
            self._daggers += 1
            self._marks[text] = DAGGERS[place] * (turn + 1)
        return self._marks[text]

    def sign(self, mark: str, text: str) -> str:
        """A mark of one's own choice."""
        return self._marks.setdefault(text, mark)

    def listed(self) -> list[tuple[str, str]]:
        """Marks and texts in the order of first use."""
        return [(mark, text) for text, mark in self._marks.items()]


def fixed(value: float, decimals: int = 1) -> str:
    """A number with fixed decimals and a true minus sign; never a negative zero."""
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def significant(value: float, digits: int = 3) -> str:
    """A number with ``digits`` significant digits and no exponent: 0.0512, 1.23, 45.6, 838."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return fixed(value, decimals)


def signed(value: float, decimals: int = 1) -> str:
    """A difference with its sign."""
    text = fixed(value, decimals)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def p_text(value: float) -> str:
    """``p = 0.012``, ``p < 0.001``, ``p > 0.99``"""
    if value < 0.001:
        return "p < 0.001"
    return "p > 0.99" if value > 0.99 else f"p = {value:.3f}"


def interval_text(interval: Interval) -> str:
    """``[11.2, 14.9]``"""
    return f"[{fixed(interval.low)}, {fixed(interval.high)}]"
