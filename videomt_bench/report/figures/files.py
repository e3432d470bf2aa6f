"""The files of a figure, made only where those that are there are not of the same drawing.

Drawing a figure for a page is quick, embedding its fonts in three files is not. A page holds for
each of its figures a digest of the drawing and of the files made of it; where the old page and the
old files agree with the new drawing, the old files are the new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import matplotlib

from videomt_bench.report.figures.style import DPI, FORMATS, STYLE, Draw, rendered

Files = Mapping[str, bytes]
"""Extension -> content."""


def digest_of(drawing: str, files: Files) -> str:
    """Of a drawing, of how it became files, and of the files."""
    how = repr((matplotlib.__version__, sorted(STYLE.items()), DPI, FORMATS))
    parts = [drawing.encode(), how.encode(), *(files[kind] for kind in FORMATS)]
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()[:32]


def figure_files(draw: Draw, drawing: str, stem: Path, old_page: str) -> dict[str, bytes]:
    """A figure in all formats.

    Args:
        draw: makes the figure.
        drawing: the figure as the page holds it.
        stem: where its files may be already, without their extensions.
        old_page: the page that may be there already; empty if there is none.
    """
    try:
        files = {kind: Path(f"{stem}.{kind}").read_bytes() for kind in FORMATS}
    except OSError:
        files = {}
    if files and digest_of(drawing, files) in old_page:
        return files
    return {kind: rendered(draw, kind) for kind in FORMATS}
