"""The caption of a table: the setting in plain words, what brackets are, what not to compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from videomt_bench.report.differences import main_metrics
from videomt_bench.report.rows import Row, Setting
from videomt_bench.report.tables.columns import published_metrics, sample_sizes, size_text
from videomt_bench.report.tables.comparable import measured_setting


def caption(setting: Setting, rows: Sequence[Row], extra: str) -> str:
    """Sentences, with the experiment's own ones at the end."""
    sentences = [
        _setting_sentence(setting, rows),
        _sample_sentence(rows),
        _interval_sentence(rows),
        _paper_sentence(rows),
        extra.strip(),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _setting_sentence(setting: Setting, rows: Sequence[Row]) -> str:
    dataset = setting.dataset
    name = str(dataset.get("name", "no dataset"))
    scene = f", scene {dataset['scene']}" if "scene" in dataset else ""
    generated = "scene" in dataset or "generated" in name
    encoders = sorted({str(r.group.spec["encoder"].get("name")) for r in rows if r.group})
    tiny = generated and any("tiny" in encoder for encoder in encoders)
    kind = "the tiny setting, a small model" if tiny else "these models"
    data = "generated data, not real video" if generated else "the dataset"
    if not encoders:
        return f"Nothing was measured yet ({name}{scene})."
    return f"Measured in {kind} ({', '.join(encoders)}), on {data} ({name}{scene})."


def _sample_sentence(rows: Sequence[Row]) -> str:
    metrics = [m for m in main_metrics(rows) if any(m in row.estimates for row in rows)]
    if not metrics:
        return ""
    found = [row.estimates[m] for row in rows for m in metrics if m in row.estimates]
    seeds = _span(len(estimate.per_seed) for estimate in found)
    videos = _span(n for row in rows for m in metrics for n in sample_sizes(row, m))
    plural = "" if seeds == "1" else "s"
    names = " and ".join(metrics)
    return f"Each measured {names} is over {seeds} seed{plural} and {videos} test videos."


def _span(numbers: Iterable[int]) -> str:
    values = sorted(set(numbers))
    return size_text([values[0], values[-1]] if len(values) > 1 else values) if values else ""


def _interval_sentence(rows: Sequence[Row]) -> str:
    found = [row.estimates[m] for row in rows for m in main_metrics(rows) if m in row.estimates]
    drawn = [estimate for estimate in found if estimate.interval]
    text = ""
    if drawn:
        several = {len(estimate.per_seed) > 1 for estimate in drawn}
        what = {
            (True,): "seeds and test videos",
            (False,): "test videos; it leaves out training noise",
            (False, True): "seeds and test videos; where n is 1, over test videos alone, and it "
            "leaves out training noise",
        }[tuple(sorted(several))]
        draws = max(len(estimate.samples) for estimate in drawn)
        text = f"Brackets hold the 95 % bootstrap interval ({draws} draws, t) over {what}."
    if any(estimate.deviation is not None for estimate in found):
        text += " ± is the standard deviation over n seeds."
    return text.strip()


def _paper_sentence(rows: Sequence[Row]) -> str:
    """Which published numbers are of another setting than the measured ones beside them."""
    other = {
        cell.setting
        for row in rows
        if row.group is not None
        for metric in published_metrics([row])
        for cell in [row.published[metric]]
        if cell.setting != measured_setting(row.group.spec)
    }
    if not other:
        return ""
    return (
        f"The paper's numbers are of another setting ({'; '.join(sorted(other))}) and are not "
        "comparable with the measured ones cell by cell."
    )
