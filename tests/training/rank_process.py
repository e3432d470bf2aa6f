"""One of two processes that train together: ``rank_process.py FOLDER RANK [VARIANT]``.

Without a variant it is step 6: 20 iterations of batches of unequal clips, shared exactly, and then
a training in which a clip of the second process is no number. Of another variant the image stage
is trained, and the second process sees no objects.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from conftest import RandomClips, UnequalClips, tiny_model, tiny_settings

from videomt_bench.errors import BenchError
from videomt_bench.models.video import VideoSegmenter
from videomt_bench.training import engine


def main(folder: Path, rank: int, variant: str | None = None) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    if variant is None:
        model, clips = tiny_model(), UnequalClips()
        settings = tiny_settings(iterations=20, batch=4, exact_sharing=True)
    else:
        model, clips = image_stage(variant), RandomClips(objects=0 if rank else 2)
        settings = tiny_settings(iterations=3, batch=2)
    model = engine.train(model, clips, settings, folder / "both", seed=0)
    torch.save(model.state_dict(), folder / f"{rank}.pth")
    (folder / f"{rank}.json").write_text(json.dumps(clips.read))
    if variant is None:
        poisoned(folder, rank)
    torch.distributed.destroy_process_group()


def poisoned(folder: Path, rank: int) -> None:
    """The fifth batch of the second process is no number."""
    collate, calls = engine.collate, []

    def bad(clips, divisor):
        calls.append(1)
        batch = collate(clips, divisor)
        frames = batch.frames * float("nan") if (rank, len(calls)) == (1, 5) else batch.frames
        return replace(batch, frames=frames)

    engine.collate = bad
    settings = tiny_settings(checkpoint_interval=4)
    try:
        engine.train(tiny_model(), RandomClips(objects=2), settings, folder / "bad", seed=0)
    except BenchError as error:
        (folder / f"{rank}.txt").write_text(str(error))


def image_stage(variant: str) -> VideoSegmenter:
    model = tiny_model(variant)
    return VideoSegmenter(model.segmenter, model.memory, model.tracker.image_stage())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
