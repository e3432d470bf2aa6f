"""From a model and a data set to prediction files and their scores, for each of the three tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from videomt_bench.data.coco import CocoIndex
from videomt_bench.data.layouts import Files, Index
from videomt_bench.data.panoptic import PanopticIndex
from videomt_bench.data.semantic import SemanticIndex
from videomt_bench.data.ytvis import YTVISIndex
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.inference import predict_videos
from videomt_bench.evaluation.panoptic import score_vipseg
from videomt_bench.evaluation.panoptic_inference import PanopticSettings, panoptic_video
from videomt_bench.evaluation.score import Score, score_files
from videomt_bench.evaluation.semantic import score_vspw
from videomt_bench.evaluation.semantic_inference import semantic_video
from videomt_bench.evaluation.stream import InferenceSettings, prepared, run_videos
from videomt_bench.evaluation.writers import PanopticWriter, SemanticWriter
from videomt_bench.evaluation.ytvis_files import write_predictions
from videomt_bench.models import VideoSegmenter

Report = Callable[[int, int], None]
RESULT_FILE = "results.json"
"""Instance predictions of a split, in the folder of the run."""


@dataclass(frozen=True)
class Predictions:
    """The prediction files of a split, below one folder."""

    folder: Path
    files: list[Path]


def predict(
    model: VideoSegmenter, index: Index, folder: Path, settings: InferenceSettings, report: Report
) -> Predictions:
    """Write the predictions of a split in the layout of its benchmark.

    Args:
        model: trained for the classes of the data set.
        index: the split; instances, panoptic or semantic decides the task.
        folder: where the files go: ``results.json``, or a folder of PNGs.
        settings: how videos are read and ranked.
        report: receives (videos done, of how many).
    """
    model = prepared(model, settings)
    if isinstance(index, YTVISIndex):
        file = folder / RESULT_FILE
        videos, categories = index.videos, index.categories
        found = predict_videos(model, videos, index.frames_root, categories, settings, report)
        write_predictions(file, found)
    elif isinstance(index, PanopticIndex):
        _predict_panoptic(model, index, folder / "predictions", settings, report)
    elif isinstance(index, SemanticIndex):
        _predict_semantic(model, index, folder / "predictions", settings, report)
    else:
        raise BenchError("COCO images are for training; there is no video to evaluate on")
    return written(index, folder)


def _predict_panoptic(
    model: VideoSegmenter,
    index: PanopticIndex,
    folder: Path,
    settings: InferenceSettings,
    report: Report,
) -> None:
    writer = PanopticWriter(folder, [category.id for category in index.categories])
    thresholds = PanopticSettings(
        sum(category.is_thing for category in index.categories),
        settings.class_threshold,
        settings.overlap_threshold,
        settings.mask_threshold,
    )
    for done, video in enumerate(index.videos, start=1):
        outputs = run_videos(model, [video], index.frames_root, settings)
        segmented = panoptic_video(outputs, (video.height, video.width), thresholds)
        writer.write(video.name, video.file_names, segmented)
        report(done, len(index.videos))
    writer.finish()


def _predict_semantic(
    model: VideoSegmenter,
    index: SemanticIndex,
    folder: Path,
    settings: InferenceSettings,
    report: Report,
) -> None:
    writer = SemanticWriter(folder, [category.id for category in index.categories])
    for done, video in enumerate(index.videos, start=1):
        outputs = run_videos(model, [video], index.frames_root, settings)
        maps = semantic_video(outputs, (video.height, video.width))
        writer.write(video.name, video.file_names, maps)
        report(done, len(index.videos))


def written(index: Index, folder: Path) -> Predictions:
    """The predictions that ``predict`` has left in a folder.

    Raises:
        BenchError: there are none.
    """
    if isinstance(index, YTVISIndex):
        found = Predictions(folder, list(folder.glob(RESULT_FILE)))
    elif isinstance(index, PanopticIndex):
        folder = folder / "predictions"
        files = [*folder.glob("pred.json"), *folder.glob("pan_pred/*/*.png")]
        found = Predictions(folder, files)
    else:
        folder = folder / "predictions"
        found = Predictions(folder, list(folder.glob("*/*.png")))
    if not found.files:
        raise BenchError(f"no predictions in {folder}; evaluate the run first")
    return found


def score(
    index: Index, files: Files, split: str, predictions: Predictions, stats: Path
) -> dict[str, Score]:
    """Score prediction files against the truth of the split, and keep per-video statistics.

    Args:
        index: the split.
        files: where its truth lies.
        split: its name.
        predictions: of ``predict``.
        stats: the file of statistics to write.
    """
    if isinstance(index, YTVISIndex):
        return score_files(files.annotations, predictions.files[0], stats)
    if isinstance(index, PanopticIndex):
        assert files.masks is not None
        panoptic = score_vipseg(files.annotations, files.masks, predictions.folder)
        panoptic.stats.save(stats)
        return _dense_scores(panoptic.metrics, len(index.videos))
    if isinstance(index, CocoIndex):
        raise BenchError("COCO images are for training; there is no video to evaluate on")
    semantic = score_vspw(files.annotations.parent, predictions.folder, split=split)
    semantic.stats.save(stats)
    return _dense_scores(semantic.metrics, len(index.videos))


def _dense_scores(metrics: dict[str, float | None], videos: int) -> dict[str, Score]:
    return {name: Score(value, videos) for name, value in metrics.items()}
