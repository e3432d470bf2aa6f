"""Finds variants by name: the shipped files, the user's folders, entry points of other packages.

A variant is a Python file that defines ``VARIANT``; its name is the file's. Variant files are code
that the user chose to run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models.variant import Variant
from videomt_bench.variant_files import ENTRY_POINTS, variant_files


def variant_names() -> list[str]:
    """Every variant that can be loaded."""
    return sorted({*variant_files(), *(e.name for e in entry_points(group=ENTRY_POINTS))})


def load_variant(name: str) -> Variant:
    """The variant called ``name``.

    Raises:
        BenchError: there is none, or its file does not define a variant.
    """
    files = variant_files()
    if name in files:
        return _from_file(files[name].resolve())
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            module = _imported(entry.load, f"the entry point {entry.value}")
            return _checked(module, name, getattr(module, "__file__", None) or entry.value)
    raise unknown("variant", name, variant_names())


def load_variants(names: Sequence[str] | None = None) -> list[Variant]:
    """Some variants, or all of them."""
    return [load_variant(name) for name in (variant_names() if names is None else names)]


@cache
def _from_file(file: Path) -> Variant:
    spec = importlib.util.spec_from_file_location(f"_videomt_bench_variant_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _imported(partial(spec.loader.exec_module, module), f"the variant file {file}")
    return _checked(module, file.stem, str(file))


def _imported(load: Callable[[], object], what: str) -> object:
    try:
        return load()
    except BenchError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise BenchError(f"{what} cannot be imported ({reason})") from error


def _checked(module: object, name: str, where: str) -> Variant:
    variant = module if isinstance(module, Variant) else getattr(module, "VARIANT", None)
    if not isinstance(variant, Variant):
        raise BenchError(f"{where} defines no VARIANT = Variant(...)")
    summary = " ".join((getattr(module, "__doc__", None) or "").split("\n\n")[0].split())
    return replace(variant, name=name, summary=summary, file=where)
