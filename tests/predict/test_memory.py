"""Memory does not grow with the length of a video: what is kept is the state and the means."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_videos import pictures, source_of, tiny_predictor

from videomt_bench.predict.outputs import Wanted
from videomt_bench.predict.run import predict
from videomt_bench.predict.source import SourceFrame

SCRIPT = """
import json, re, sys
from itertools import cycle, islice
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from tiny_videos import pictures, tiny_predictor
from videomt_bench.predict.outputs import Wanted
from videomt_bench.predict.run import predict
from videomt_bench.predict.source import Source, SourceFrame

torch.set_num_threads(1)
task, count = sys.argv[3], int(sys.argv[4])
some = pictures(20, 96, 128)
frames = (SourceFrame(t, f"{t:06d}", t / 10, some[t % 20].copy()) for t in range(count))
wanted = Wanted(video=True, images=True, scale=1)
document = predict(tiny_predictor(task, threshold=0.0 if task == "instances" else 0.3),
                   Source("video", 10, count, frames), Path(sys.argv[2]), wanted)
assert document["state"] == "completed" and document["frames"] == count, document
# of this program alone; ru_maxrss would start from that of the process which started it
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps(peak))
"""


def peak(folder: Path, task: str, frames: int) -> float:
    """Peak memory of a process, in MiB, that predicts so many frames and writes all files."""
    arguments = [str(Path(__file__).parent), str(folder / f"{frames}"), task, str(frames)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("task", ["instances", "panoptic"])
def test_a_thousand_frames_need_what_fifty_need(task: str, tmp_path: Path) -> None:
    """Within 5 percent, and within less than the 35 MiB that the frames alone are."""
    short, long = peak(tmp_path, task, 50), peak(tmp_path, task, 1000)
    print(f"{task}: {short:.1f} MiB for 50 frames, {long:.1f} MiB for 1,000")
    assert long < min(1.05 * short, short + 20)


@pytest.mark.parametrize("task", ["instances", "panoptic", "semantic"])
def test_frames_are_let_go(task: str, tmp_path: Path) -> None:
    """Of 60 frames never more than five are alive at once."""
    alive: set[int] = set()
    most = 0
    source = source_of(pictures(60))
    inner = source.frames

    def watched() -> Iterator[SourceFrame]:
        nonlocal most
        for frame in inner:
            # the frames of the helper are views of one array
            own = replace(frame, pixels=np.array(frame.pixels))
            alive.add(frame.index)
            weakref.finalize(own.pixels, alive.discard, frame.index)
            most = max(most, len(alive))
            yield own
            del frame, own

    source.frames = watched()
    predict(tiny_predictor(task), source, tmp_path / "a", Wanted(video=True, scale=1))
    assert 1 <= most <= 5
