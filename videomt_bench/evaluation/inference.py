"""Instance predictions of whole videos, as compressed RLE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from torch import Tensor

from videomt_bench.data.ytvis import Category, Video
from videomt_bench.evaluation.stream import (
    InferenceSettings,
    VideoOutputs,
    run_videos,
    video_batches,
)
from videomt_bench.evaluation.tubes import Rle
from videomt_bench.evaluation.ytvis_files import Prediction
from videomt_bench.models import VideoSegmenter
from videomt_bench.models.postprocess import TopK, resize_logits, top_k


def predict_videos(
    model: VideoSegmenter,
    videos: Sequence[Video],
    frames_root: Path,
    categories: Sequence[Category],
    settings: InferenceSettings,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Prediction]:
    """The ``top_k`` (query, class) pairs of every video; a query may appear with several classes.

    Args:
        model: in any mode; set to evaluation mode.
        videos: to run, in any order.
        frames_root: their folder.
        categories: class index -> data set category.
        settings: size and ranking.
        report: receives (videos done, of how many).
    """
    model.eval()
    done = 0
    for group in video_batches(videos, settings.batch):
        outputs = run_videos(model, group, frames_root, settings)
        best = [
            top_k(logits, settings.top_k, outputs.online_of(b))
            for b, logits in enumerate(outputs.class_logits)
        ]
        tubes = _tubes(outputs, best, (group[0].height, group[0].width))
        for video, pairs, tube in zip(group, best, tubes, strict=True):
            for score, label, query in zip(
                pairs.scores.tolist(), pairs.labels.tolist(), pairs.queries.tolist(), strict=True
            ):
                yield Prediction(video.id, categories[label].id, score, tube[query])
        done += len(group)
        report(done, len(videos))


def _tubes(
    outputs: VideoOutputs, best: Sequence[TopK], size: tuple[int, int]
) -> list[dict[int, list[Rle]]]:
    """For each video the masks of every query among its best pairs, frame after frame."""
    queries = [pairs.queries.unique() for pairs in best]
    tubes: list[dict[int, list[Rle]]] = [{q: [] for q in kept.tolist()} for kept in queries]
    for frame in outputs.masks(queries):
        for logits, kept, tube in zip(frame, queries, tubes, strict=True):
            masks = resize_logits(logits[None], outputs.padded, outputs.inner, size)[0] > 0
            for query, code in zip(kept.tolist(), _encode(masks.cpu()), strict=True):
                tube[query].append(code)
    return tubes


def _encode(masks: Tensor) -> list[Rle]:
    """Binary masks (K, H, W) -> RLE with text counts."""
    codes = rle.encode(np.asfortranarray(masks.numpy().transpose(1, 2, 0).astype(np.uint8)))
    return [{"size": code["size"], "counts": code["counts"].decode("ascii")} for code in codes]
