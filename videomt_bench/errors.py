"""The one exception a user sees: a sentence that names the bad value and the valid ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Bad input: the command line prints the sentence and exits with code 2, no traceback."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> BenchError:
    """The error for a ``name`` that is none of ``valid``, with the nearest matches first."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    return BenchError(f"unknown {kind} {str(name)!r}; {hint}valid: {shown or 'none'}")
