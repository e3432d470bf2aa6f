"""What the statistics of a scorer need besides their numbers: a file, and selections of videos."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.tubes import Integers
from videomt_bench.files import replacing

Array = npt.NDArray[Any]


def save_arrays(path: Path, schema: int, arrays: Mapping[str, Array]) -> None:
    """Write one compressed .npz without pickle, whole or not at all.

    Raises:
        BenchError: the folder cannot be written.
    """
    with replacing(path) as file:
        np.savez_compressed(file, schema=np.array(schema), **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path, schema: int, names: Iterable[str], what: str) -> dict[str, Array]:
    """Read the arrays ``names`` of what ``save_arrays`` wrote; ``what`` is for the errors.

    Raises:
        BenchError: unreadable, damaged, or of another schema.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = int(file["schema"])
            arrays = {name: file[name] for name in names} if found == schema else {}
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except (
        ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError,
        NotImplementedError, zipfile.BadZipFile, zlib.error,
    ):  # fmt: skip
        raise BenchError(f"{path} is not a file of {what}, or damaged") from None
    if found != schema:
        raise BenchError(f"{path} has schema {found}; this version reads {schema}")
    return arrays


def multiplicity(videos: Sequence[int] | Integers | None, total: int) -> Integers:
    """(total,) how often each video occurs in a multiset of positions; None is each once.

    Raises:
        BenchError: a position outside 0..total-1.
    """
    if videos is None:
        return np.ones(total, np.int64)
    chosen = np.asarray(videos)
    if chosen.size == 0:
        return np.zeros(total, np.int64)
    if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
        raise BenchError("videos are a list of positions, whole numbers")
    if chosen.min() < 0 or chosen.max() >= total:
        raise BenchError(f"video positions go from 0 to {total - 1}; got {chosen.tolist()!r}")
    return np.bincount(chosen, minlength=total)
