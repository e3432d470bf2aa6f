"""A record: one JSON file per run, typed, versioned, written atomically; failures too."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from videomt_bench.errors import BenchError

SCHEMA = 1
STAGES = ("segmenter", "video", "refine", "evaluate", "cost")
TRAINING = STAGES[:3]
"""Those in which several processes work together."""

State = Literal[
    "planned", "running", "completed", "failed", "out_of_memory", "timed_out", "preempted"
]


def stage_names(refines: bool, published: bool = False) -> tuple[str, ...]:
    """The stages of a run, with or without that of a refiner; of published weights one alone."""
    if published:
        return ("evaluate",)
    return tuple(name for name in STAGES if refines or name != "refine")


@dataclass
class Metric:
    """A measured value; fractions are in 0..1, never percent."""

    value: float | None
    n: int
    """How many videos (or objects, for a recall) it was measured on."""
    unit: str = "fraction"


@dataclass
class StageResult:
    """What one stage of a run did."""

    id: str
    state: State
    seconds: float
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """Everything known about one run. Missing is ``None`` or absent, never 0.0.

    ``video_stats`` names a file beside the record with per-video sufficient statistics.
    """

    run_id: str
    spec: dict[str, Any]
    state: State
    reason: str | None = None
    stages: dict[str, StageResult] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    video_stats: str | None = None
    cost: dict[str, Any] | None = None
    """``params``, ``gmacs``, ``gflops``, ``uncounted``, ``fps`` {``model``, ``end_to_end``},
    ``peak_memory_mib`` and ``protocol`` {device, precision, compile, input, clock, ...}."""
    environment: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    """``version``, ``commit`` and whether the tree was ``dirty``, of the last stage that ran."""
    created: str = ""
    updated: str = ""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages that the run has."""
        refines = self.spec.get("recipe", {}).get("refine") is not None
        return stage_names(refines, self.spec.get("weights") is not None)

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The code of all stages, as far as they tell, and of the run; each once."""
        details = [r.detail for r in self.stages.values() if isinstance(r.detail, dict)]
        told = [*(detail.get("source") for detail in details), self.source]
        found = [source for source in told if isinstance(source, dict)]
        return [source for i, source in enumerate(found) if source not in found[:i]]

    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Any, where: str = "record") -> Record:
        """Check and build a record.

        Raises:
            BenchError: not a record, of a newer schema, or with missing or unknown keys.
        """
        if not isinstance(data, dict) or "schema" not in data:
            raise BenchError(f"{where} is not a record: it has no 'schema'")
        if not isinstance(data["schema"], int) or data["schema"] > SCHEMA:
            raise BenchError(
                f"{where} has schema {data['schema']!r}; this version reads up to {SCHEMA}"
            )
        names = {f.name for f in fields(Record)}
        if extra := set(data) - names:
            raise BenchError(f"{where} has unknown keys {sorted(extra)}")
        if missing := {"run_id", "spec", "state"} - set(data):
            raise BenchError(f"{where} lacks the keys {sorted(missing)}")
        if data["state"] not in get_args(State):
            raise BenchError(f"{where} has state {data['state']!r}; valid: {get_args(State)}")
        try:
            metrics = {k: Metric(**v) for k, v in data.get("metrics", {}).items()}
            stages = {k: StageResult(**v) for k, v in data.get("stages", {}).items()}
        except (TypeError, AttributeError) as error:
            raise BenchError(f"{where} has a malformed metric or stage: {error}") from None
        return Record(**{**data, "metrics": metrics, "stages": stages})


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        BenchError: unreadable, damaged or of another schema.
    """
    return Record.from_json(record_content(path), str(path))


def record_content(path: Path) -> Any:
    """The JSON values of a file that should be a record.

    Raises:
        BenchError: unreadable, or no JSON.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot read the record {path}: {error}") from None
