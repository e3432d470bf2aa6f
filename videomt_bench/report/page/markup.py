"""HTML that cannot be broken by data: what is not markup already is escaped, here and only here."""

from __future__ import annotations

import html

from videomt_bench.report.printable import printable


class Markup(str):
    """Text that is HTML; made by :func:`tag`, or :func:`trusted` for what we wrote ourselves."""

    __slots__ = ()


VOID = {"meta", "link", "br", "col"}


def tag(name: str, *children: str | None, **attributes: str | int | bool | None) -> Markup:
    """An element. Children that are no markup, and all attributes, are escaped.

    Args:
        name: of the element.
        children: its content; None is left out.
        attributes: ``class_`` is ``class``, ``aria_label`` is ``aria-label``; None and False are
            left out, True stands without a value.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        parts.append(attribute if value is True else f'{attribute}="{escaped(value)}"')
    opening = f"<{' '.join(parts)}>"
    if name in VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{name}>")


def join(*children: str | None) -> Markup:
    """Children one after the other, escaped where they are no markup."""
    return Markup("".join(c if isinstance(c, Markup) else escaped(c) for c in children if c))


def trusted(text: str) -> Markup:
    """Markup that this package wrote itself, never data."""
    return Markup(text)


def escaped(value: object) -> Markup:
    """A value as text in an element or a quoted attribute; control characters become spaces."""
    return Markup(html.escape(printable(str(value)), quote=True))
