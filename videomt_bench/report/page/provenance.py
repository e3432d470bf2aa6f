"""Where a report comes from: commands, runs, code and machines, all from the records."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from videomt_bench.report.page.markup import Markup, join, tag
from videomt_bench.report.page.tables import table_html
from videomt_bench.report.rows import STATE_WORDS, Row, state_reason
from videomt_bench.report.tables.display import DASH, Cell, Column, Display
from videomt_bench.report.tables.table import ReportTable
from videomt_bench.runs.record import Record

MOST = 300
"""Characters of a record's text that are shown."""
RUN = ("Run", "Row", "State", "Seed", "Commit", "Changes", "Machine", "Written")
LISTED = 500
"""Of more runs than these only so many have a line, those that are not complete first."""
FOLDED = 10
"""More runs than these are folded away."""


def used_records(tables: Sequence[ReportTable]) -> list[tuple[Row, Record]]:
    """The records of all rows, each once, in the order of the tables."""
    found: dict[str, tuple[Row, Record]] = {}
    for table in tables:
        for row in table.rows:
            for record in row.records:
                found.setdefault(record.run_id, (row, record))
    return list(found.values())


def commands(experiment: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """The command lines that make the runs and the report again."""
    name = shlex.quote(str(experiment["name"]))
    run = ["videomt-bench sweep run", name]
    if records:
        run.append(f"--seeds {number_ranges(r.spec['seed'] for r in records)}")
        datasets = list(dict.fromkeys(str(r.spec["dataset"].get("name")) for r in records))
        run.append(f"--datasets {shlex.quote(','.join(datasets))}")
        stages = list(dict.fromkeys(stage for r in records for stage in r.stages))
        if "evaluate" not in stages and stages:
            run.append(f"--stages {shlex.quote(','.join(stages))}")
    folders = "--results RESULTS"
    return [
        " ".join([*run, folders]),
        f"videomt-bench report {name} {folders} --out REPORTS",
    ]


def number_ranges(numbers: Iterable[int]) -> str:
    """``1-3,5`` for 1, 2, 3 and 5."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def dates(records: Sequence[Record]) -> str:
    """The days between which the records were last written; nothing where they do not say."""
    days = sorted({str(r.updated)[:10] for r in records if r.updated})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def provenance_html(tables: Sequence[ReportTable], experiment: Mapping[str, Any]) -> Markup:
    """The section of a page."""
    used = used_records(tables)
    records = [record for _, record in used]
    lines = "\n".join(commands(experiment, records))
    return join(
        tag("h3", "Commands"),
        tag("pre", tag("code", lines), tabindex=0),
        tag(
            "p",
            "RESULTS is the folder that holds records, REPORTS the one for the files of this "
            "report. Equal records give an equal page.",
            class_="small",
        ),
        tag("h3", "Code"),
        _code(records),
        tag("h3", "Environment"),
        _environments(records),
        tag("h3", "Runs"),
        _runs(used),
    )


def _code(records: Sequence[Record]) -> Markup:
    counts: dict[tuple[str, str, bool], int] = {}
    for source in (source for record in records for source in record.sources):
        key = (
            _text(source.get("version", "unknown")),
            _text(source.get("commit") or "unknown"),
            bool(source.get("dirty")),
        )
        counts[key] = counts.get(key, 0) + 1
    items = [
        tag(
            "li",
            f"version {version}, commit ",
            tag("code", commit),
            tag("strong", ", with uncommitted changes") if dirty else None,
            f" ({_runs_word(n)})",
        )
        for (version, commit, dirty), n in counts.items()
    ]
    return tag("ul", *items) if items else tag("p", "No runs: every number is published.")


def _runs_word(n: int) -> str:
    return f"{n} run" if n == 1 else f"{n} runs"


def _environments(records: Sequence[Record]) -> Markup:
    """The different environments of the records, with how many runs each has."""
    counts: dict[tuple[tuple[str, str], ...], int] = {}
    for record in records:
        fields = sorted(_fields(record.environment).items())
        known = tuple((str(k), _field(v)) for k, v in fields if v is not None)
        counts[known] = counts.get(known, 0) + 1
    blocks = [
        join(
            tag("p", f"{_runs_word(n)}:", class_="small"),
            tag("dl", *(join(tag("dt", k), tag("dd", v)) for k, v in known), class_="facts"),
        )
        for known, n in counts.items()
        if known
    ]
    return join(*blocks) if blocks else tag("p", "None recorded.")


def _fields(value: object) -> Mapping[str, Any]:
    """A part of a record that should be an object, and may be anything."""
    return value if isinstance(value, Mapping) else {}


def _field(value: object) -> str:
    if isinstance(value, Mapping):
        return _text(", ".join(f"{k} {v}" for k, v in sorted(value.items())))
    return _text(value)


def _text(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MOST else f"{text[:MOST]}…"


def _runs(used: Sequence[tuple[Row, Record]]) -> Markup:
    columns = [Column(title.lower(), title) for title in RUN]
    if not used:
        return tag("p", "None.")
    ordered = list(used)
    if len(used) > LISTED:
        ordered.sort(key=lambda pair: pair[1].state == "completed")
    rows = [[Cell(value) for value in _run(row, record)] for row, record in ordered[:LISTED]]
    others = ", ".join(_text(record.run_id) for _, record in ordered[LISTED:])
    return tag(
        "details",
        tag("summary", _states([record for _, record in used])),
        table_html(Display(columns, rows), "runs", "Runs"),
        tag("p", f"And {others}.", class_="small") if others else None,
        open=len(used) <= FOLDED,
    )


def _run(row: Row, record: Record) -> list[str]:
    source, environment = _fields(record.source), _fields(record.environment)
    machine = environment.get("gpu") or environment.get("cpu") or DASH
    return [
        _text(record.run_id),
        row.label,
        _state(record) if record.state in ("planned", "completed") else state_reason(record),
        str(record.spec["seed"]),
        _text(source.get("commit") or DASH)[:12],
        "uncommitted" if source.get("dirty") else "none",
        _text(machine),
        _text(record.updated)[:10] or DASH,
    ]


def _state(record: Record) -> str:
    """A run's state in words: of a run that was only measured in parts, which ones."""
    if record.state == "planned" and record.stages:
        return f"{', '.join(record.stages)} only"
    return "completed" if record.state == "completed" else STATE_WORDS[record.state]


def _states(records: Sequence[Record]) -> str:
    states = [_state(record) for record in records]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    return f"{_runs_word(len(records))}: {counts}"
