"""One of two processes that train together: ``rank_process.py FOLDER RANK [VARIANT]``.

Without a variant it is step 6. Of another one the image stage is trained, and the second process
sees no objects.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from conftest import (
    PLAIN_SETTINGS,
    RandomClips,
    plain_descent,
    repeat_points,
    tiny_model,
    tiny_settings,
)

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
        model, clips = propagation(), RandomClips(objects=2)
        settings = tiny_settings(iterations=3, batch=2, optim=PLAIN_SETTINGS, checkpoint_interval=2)
    else:
        model, clips = image_stage(variant), RandomClips(objects=0 if rank else 2)
        settings = tiny_settings(iterations=3, batch=2)
    model = engine.train(model, clips, settings, folder / "both", seed=0)
    torch.save(model.state_dict(), folder / f"{rank}.pth")
    (folder / f"{rank}.json").write_text(json.dumps(clips.read))
    torch.distributed.destroy_process_group()


def propagation() -> VideoSegmenter:
    torch.rand = repeat_points(torch.rand)[0]
    engine.build_optimizer = plain_descent
    return tiny_model()


def image_stage(variant: str) -> VideoSegmenter:
    model = tiny_model(variant)
    return VideoSegmenter(model.segmenter, model.memory, model.tracker.image_stage())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
