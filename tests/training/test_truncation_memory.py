"""Peak memory of training in chunks follows the chunk, not the clip."""

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
sys.path.insert(0, sys.argv[1])
from conftest import micro_settings
from videomt_bench.runs import stages
from videomt_bench.runs.execute import execute
from videomt_bench.sweep.experiment import load_experiment

torch.set_num_threads(1)
root, frames, chunk = Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
video = dict(height=192, width=256, seed=7, scene="slots", frames=30, videos=2)
data = dict(name="long", root=str(root / "data"), num_classes=4,
            generate=[dict(split="train", **video), dict(split="valid", **video)])
settings = micro_settings(root, variants=["gru"], datasets=[data], changes={})
settings |= {"recipe.video.frames": frames, "recipe.video.train.chunk": chunk,
             "recipe.segmenter.train.iterations": 1, "recipe.video.train.workers": 0}
(spec,) = load_experiment("demo", settings).runs()
stages.prepare_data(spec.dataset)
record = execute(spec, root / "results", ("segmenter", "video"))
assert "video" in record.stages, record.reason
# of this program alone; ru_maxrss would start from that of the process which started it
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps(peak))
"""


def peak(root: Path, frames: int, chunk: int | None) -> float:
    """Peak memory, in MiB, of a process that learns from clips of so many frames."""
    arguments = [str(Path(__file__).parents[1]), str(root), str(frames), json.dumps(chunk)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_chunks_of_five_need_the_same_for_ten_and_for_thirty_frames(tmp_path: Path) -> None:
    ten, thirty, whole = (peak(tmp_path, *clip) for clip in ((10, 5), (30, 5), (30, None)))
    print(f"10 frames {ten:.0f} MiB, 30 frames {thirty:.0f} MiB, at once {whole:.0f} MiB")
    assert thirty < 1.1 * ten
    assert whole > 1.5 * thirty, "so large that it would show"
