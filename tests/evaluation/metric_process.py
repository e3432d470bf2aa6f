"""One process of a distributed evaluation, for a test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from mmengine.evaluator import Evaluator

from videomt_bench.evaluation.mmengine_metric import VideoAP
from videomt_bench.evaluation.ytvis_files import read_predictions, read_truth


def evaluate_share(rank, shares, folder, device):
    """Compare the videos at positions ``shares[rank]`` and write what every process gets."""
    torch.set_num_threads(1)
    folder = Path(folder)
    if len(shares) > 1:
        store = f"file://{folder}/store-{device}"
        torch.distributed.init_process_group(
            "gloo", init_method=store, rank=rank, world_size=len(shares)
        )
    truth = read_truth(folder / "gt.json")
    found = read_predictions(folder / "results.json", truth)
    collect = {"collect_dir": str(folder / "collected")} if device == "cpu" else {}
    evaluator = Evaluator(VideoAP(folder / "gt.json", collect_device=device, **collect))
    ids = list(truth.videos)
    for position in shares[rank]:
        own = [p for p in found if p.video_id == ids[position]]
        evaluator.process([{"video_id": ids[position], "predictions": own}])
    values = evaluator.evaluate(len(ids))
    (folder / f"{device}-{len(shares)}-{rank}.json").write_text(json.dumps(values))
    if len(shares) > 1:
        torch.distributed.destroy_process_group()
