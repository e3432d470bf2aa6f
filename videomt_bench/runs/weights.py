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
from videomt_bench.models import VideoSegmenter, ViTEncoder
from videomt_bench.models.encoders import PositionRule
from videomt_bench.training.engine import NOT_IN_ID
from videomt_bench.weights import MatchReport, Weights, fill, open_weights
from videomt_bench.weights.loading import with_base
from videomt_bench.weights.reading import INDEX, weight_file

SHOWN = 20
"""Names of tensors that a record lists of each kind."""


@dataclass(frozen=True)
class WeightsFile:
    """A file of published weights; its content stands for it in run ids, wherever it lies.

    ``allow`` names parts of the model that the file may lack, have otherwise or have beside, as in
    ``videomt_bench.weights.load_weights``: they keep their initialisation. ``positions`` is a rule
    for learned positions in the place of timm's, where the encoder of a run has no other.
    """

    file: str = field(metadata=NOT_IN_ID)
    sha256: str = ""
    allow: tuple[str, ...] = ()
    positions: PositionRule | None = None

    def known(self) -> WeightsFile:
        """The same with the hash of its content.

        Raises:
            BenchError: it cannot be read.
        """
        return self if self.sha256 else replace(self, sha256=content_hash(self.file))

    def placed(self) -> WeightsFile:
        """The same with its authors' rule for positions, unless it has one.

        What is known stays as it is, and so do the runs that exist. timm's rule is None: it is that
        of the encoder.

        Raises:
            BenchError: it cannot be read, or is of no known family.
        """
        if self.sha256:
            return self
        known = self.known()
        rule = self.positions or _rule_of(self.file, known.sha256)
        return replace(known, positions=None if rule == "timm" else rule)

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
        notes = (*report.notes, *_other_rule(model, weights))
        name, family = Path(self.file).name, weights.info.family
        counted = _counted(replace(report, notes=notes))
        return {"file": name, "sha256": self.sha256, "family": family, **counted}


def weights_file(path: Path, allow: Sequence[str] = (), own_positions: bool = False) -> WeightsFile:
    """A file of weights, or a folder that holds one, with the hash of its content.

    Args:
        path: of either.
        allow: see ``WeightsFile``.
        own_positions: whether to look up its authors' rule for positions, for a run whose encoder
            does not come from the file.

    Raises:
        BenchError: there is none, it is of a kind that is not read, or it is in several pieces.
    """
    file = weight_file(path)
    if file.name.endswith(INDEX):
        raise BenchError(
            f"the weights {str(file)!r} are in several files, of which one hash cannot be taken; "
            "join them with `weights convert`"
        )
    found = WeightsFile(str(file), allow=tuple(allow))
    return found.placed() if own_positions else found.known()


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


@cache
def _rule_of(file: str, sha256: str) -> PositionRule:
    """The rule for positions of a file with this content."""
    return open_weights(file).info.positions


def _other_rule(model: VideoSegmenter, weights: Weights) -> list[str]:
    """A sentence where a model resamples positions otherwise than the authors of a file."""
    rule = weights.info.positions
    if rule == "timm" and weights.family.kind == "ours":
        return []  # it does not say whose it was
    own = {m.positions for m in model.modules() if isinstance(m, ViTEncoder)} - {rule}
    return [f"positions are resampled as {x!r} has it; its authors have {rule!r}" for x in own]


def _counted(report: MatchReport) -> dict[str, Any]:
    """How many tensors matched, and which did not."""
    odd = {
        name: list(names[:SHOWN]) + (["…"] if len(names) > SHOWN else [])
        for name in ("missing", "unexpected", "other_shape", "notes")
        if (names := getattr(report, name))
    }
    return {"matched": len(report.matched), **odd}
