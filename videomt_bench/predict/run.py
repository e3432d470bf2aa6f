"""One video from its source to its files."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from videomt_bench.errors import BenchError
from videomt_bench.predict.outputs import Outputs, Wanted
from videomt_bench.predict.predictor import Predictor
from videomt_bench.predict.results import Final
from videomt_bench.predict.running import RunningMean
from videomt_bench.predict.source import Source
from videomt_bench.predict.stream import Stream

State = Literal["completed", "stopped", "broken"]


def predict(
    predictor: Predictor,
    source: Source,
    folder: Path,
    wanted: Wanted,
    limit: int | None = None,
    report: Callable[[int, int | None], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Predict a video and write its files, which are whole however the video ends.

    Args:
        predictor: the model.
        source: the video, read once and closed.
        folder: for the files; an earlier prediction in it is replaced.
        wanted: which pictures to write.
        limit: stop after so many frames.
        report: receives (frames done, of how many), the latter None where nobody knows.
        stop: asked after every frame.

    Returns:
        the summary that is also in the folder: ``state`` is "completed", "stopped" or, with a
        ``reason``, "broken": the source or the disk failed, and what was done before is kept.

    Raises:
        BenchError: the folder cannot be written, or not even one frame could be predicted.
    """
    stream = predictor.stream()
    outputs = Outputs(folder, source, predictor.classes, wanted)
    total = source.length if limit is None else min(limit, source.length or limit)
    state: State = "completed"
    problems: list[str] = []
    done, start = 0, time.monotonic()
    try:
        with closing(source.frames) as frames:  # type: ignore[type-var]
            for frame, found in stream.run(islice(frames, limit)):
                outputs.write(frame, found)
                done += 1
                report(done, total)
                if stop():
                    state = "stopped"
                    break
    except BenchError as error:
        state, problems = "broken", [str(error)]
    seconds = time.monotonic() - start
    problems += outputs.finish(_final(stream))
    if problems:
        state = "broken"
    if done == 0:
        outputs.remove()
        raise BenchError(problems[0] if problems else f"{source.name} has no frames")
    document = {
        "state": state,
        "reason": "; ".join(problems) or None,
        "source": source.name,
        "folder": str(folder),
        "frames": done,
        "seconds": round(seconds, 3),
        "frames_per_second": round(done / seconds, 3),
        "files": outputs.files(),
        **predictor.to_json(),
    }
    outputs.summarize(document)
    return document


def _final(stream: Stream) -> Final:
    """Best class and probability of everything that may have been shown, by slot or by track."""
    scores = final_scores(stream.whole)
    if stream.tracks is None:
        return scores
    return {**stream.ended, **{number: scores[q] for q, number in enumerate(stream.tracks)}}


def final_scores(mean: RunningMean) -> Final:
    """Each query's best class and its probability, over the whole video."""
    if mean.mean is None:
        return {}
    scores, labels = mean.mean.softmax(-1)[:, :-1].max(-1)
    pairs = zip(labels.tolist(), scores.tolist(), strict=True)
    return dict(enumerate(pairs))
