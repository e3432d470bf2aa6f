"""One of two processes that train together: ``rank_process.py FOLDER RANK``."""

from __future__ import annotations

import json
import sys
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

from videomt_bench.training import engine


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.rand = repeat_points(torch.rand)[0]
    clips = RandomClips(objects=2)
    settings = tiny_settings(iterations=3, batch=2, optim=PLAIN_SETTINGS, checkpoint_interval=2)
    engine.build_optimizer = plain_descent
    model = engine.train(tiny_model(), clips, settings, folder / "both", seed=0)
    torch.save(model.state_dict(), folder / f"{rank}.pth")
    (folder / f"{rank}.json").write_text(json.dumps(clips.read))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
