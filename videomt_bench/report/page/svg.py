"""A figure inside a page: small, with ids of its own and the page's colours, light or dark."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from videomt_bench.report.figures.style import (
    BAND,
    BLUE,
    GREY,
    INK,
    PAPER,
    RULE,
    Draw,
    rendered,
)
from videomt_bench.report.page.markup import Markup, escaped, trusted

SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
VARIABLES = {INK: "ink", GREY: "muted", RULE: "line", BAND: "band", PAPER: "paper", BLUE: "blue"}
"""Colours of the page, which its style sheet sets for light and for dark."""
SETTINGS = {"svg.fonttype": "none", "savefig.facecolor": "none"}
"""Text stays text: it can be read, searched and set in the page's font, and it is small."""
REFERENCE = re.compile(r"url\(#([^)]+)\)")
COLOUR = re.compile("|".join(VARIABLES), re.IGNORECASE)


def inline_svg(draw: Draw, name: str, title: str) -> Markup:
    """A figure as an ``svg`` element for the inside of a page.

    Args:
        draw: see :func:`videomt_bench.report.figures.style.rendered`.
        name: unique on the page; the ids in the figure begin with it.
        title: what the figure shows, for those who do not see it.
    """
    root = ET.fromstring(rendered(draw, "svg", SETTINGS))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    _rename(root, name)
    for element in root.iter():
        for key in ("style", "fill", "stroke"):
            if key in element.attrib:
                element.attrib[key] = _themed(element.attrib[key])
        element.tag = str(element.tag).removeprefix(f"{{{SVG}}}")
    width = float(root.attrib.pop("width").removesuffix("pt"))
    del root.attrib["height"], root.attrib["version"]
    root.attrib |= {"role": "img", "aria-label": title, "style": f"--natural: {width:g}px"}
    return trusted(ET.tostring(root, encoding="unicode").replace("\n", " "))


def _rename(root: ET.Element, name: str) -> None:
    """Give the ids that are used a prefix, and drop the others."""
    prefix = str(escaped(name))
    used: set[str] = set()
    for element in root.iter():
        if (target := element.attrib.pop(HREF, None)) is not None:
            used.add(target.removeprefix("#"))
            element.attrib["href"] = f"#{prefix}-{target.removeprefix('#')}"
        for key, value in element.attrib.items():
            if found := REFERENCE.findall(value):
                used.update(found)
                element.attrib[key] = REFERENCE.sub(rf"url(#{prefix}-\1)", value)
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.attrib["id"] = f"{prefix}-{own}"


def _themed(style: str) -> str:
    named = COLOUR.sub(lambda match: f"var(--{VARIABLES[match[0].lower()]})", style)
    return named.replace("'DejaVu Sans'", "var(--figure)")
