"""Files of weights that runs start from: which they are, and that they still are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError
from videomt_bench.models import VideoSegmenter
from videomt_bench.training.engine import NOT_IN_ID
from videomt_bench.weights import MatchReport, fill, open_weights
from videomt_bench.weights.loading import with_base
from videomt_bench.weights.reading import INDEX, weight_file

SHOWN = 20
"""Names of tensors that a record lists of each kind."""


@dataclass(frozen=True)
class WeightsFile:
    """A file of published weights; its content stands for it in run ids, wherever it lies.

    ``allow`` names parts of the model that the file may lack, have otherwise or have beside, as in
    ``videomt_bench.weights.load_weights``: they keep their initialisation.
    """

    file: str = field(metadata=NOT_IN_ID)
    sha256: str = ""
    allow: tuple[str, ...] = ()

    def known(self) -> WeightsFile:
        """The same with the hash of its content.

        Raises:
            BenchError: it cannot be read.
        """
        return self if self.sha256 else replace(self, sha256=content_hash(self.file))

    def check(self) -> None:
        """Raises BenchError: it is not there."""
        if not Path(self.file).is_file():
            raise BenchError(f"the weights {self.file!r} are not a file; give a checkpoint file")

    def load(self, model: VideoSegmenter) -> dict[str, Any]:
        """Fill a model, and say what was matched, for a record.

        Raises:
            BenchError: another content than it had, or weights that do not fit the model.
        """
        self.check()
        if content_hash(self.file) != self.sha256:
            raise BenchError(
                f"the weights {self.file!r} have changed: their SHA-256 is not "
                f"{self.sha256[:12]}… any more; give the file that the run was made with"
            )
        weights = with_base(open_weights(self.file), None)
        report = fill(model, weights, self.allow)
        name, family = Path(self.file).name, weights.info.family
        return {"file": name, "sha256": self.sha256, "family": family, **_counted(report)}


def weights_file(path: Path, allow: Sequence[str] = ()) -> WeightsFile:
    """A file of weights, or a folder that holds one, with the hash of its content.

    Raises:
        BenchError: there is none, it is of a kind that is not read, or it is in several pieces.
    """
    file = weight_file(path)
    if file.name.endswith(INDEX):
        raise BenchError(
            f"the weights {str(file)!r} are in several files, of which one hash cannot be taken; "
            "join them with `weights convert`"
        )
    return WeightsFile(str(file), allow=tuple(allow)).known()


def content_hash(file: str) -> str:
    """The SHA-256 of a file's content; a file that stays as it is is read once.

    Raises:
        BenchError: it cannot be read.
    """
    try:
        found = os.stat(file)
        return _content_hash(file, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise BenchError(
            f"cannot read the weights {file!r}: {error.strerror or error}; give a checkpoint file"
        ) from None


@cache
def _content_hash(file: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _counted(report: MatchReport) -> dict[str, Any]:
    """How many tensors matched, and which did not."""
    odd = {
        name: list(names[:SHOWN]) + (["…"] if len(names) > SHOWN else [])
        for name in ("missing", "unexpected", "other_shape", "notes")
        if (names := getattr(report, name))
    }
    return {"matched": len(report.matched), **odd}
