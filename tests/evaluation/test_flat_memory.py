"""Peak memory of predicting a video does not grow with its length, beyond its compressed result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, re, sys
from pathlib import Path
import torch
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.layouts import open_dataset
from videomt_bench.evaluation.inference import predict_videos
from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant

root, frames, buffer = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
make_ytvis(root, GeneratorSettings(videos=1, frames=frames, split="valid"))
index = open_dataset("generated", root, "valid")
spec = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), 4, 200)
model = load_variant("step6_videomt").build(spec).eval()
# what torch allocates once belongs to no video
with torch.no_grad():
    model(torch.zeros(1, 8, 3, 48, 48))
def peak():
    # of this program alone; ru_maxrss would start from that of the process which started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
settings = InferenceSettings(
    short_side=None, divisor=8, top_k=2, window=8, buffer_mib=buffer
)
found = list(predict_videos(model, index.videos, index.frames_root, index.categories, settings))
assert all(len(p.segmentations) == frames for p in found)
print(json.dumps(peak() - before))
"""


def grown(folder: Path, frames: int, buffer_mib: int) -> float:
    """MiB that the peak of a process grows by while it predicts one video."""
    arguments = [str(folder / f"{frames}"), str(frames), str(buffer_mib)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_video_needs_no_more_memory(tmp_path: Path) -> None:
    """What masks of 600 frames are made of is 52 MiB here; a buffer of 4 MiB holds 46 frames."""
    short, long = grown(tmp_path, 60, 4), grown(tmp_path, 600, 4)
    held = grown(tmp_path, 600, 4096)
    assert held > 48
    assert long < short + 20
    assert long < held / 2
