"""What step 6 saves on this machine: the time per frame of steps 0 and 6, by component.

    python tests/benchmarks/bench_steps.py
    python tests/benchmarks/bench_steps.py --encoder small --frames 5

Not a test: it asserts nothing about time. The models take turns frame by frame in one process, and
the fastest frame of each counts; the ratio to step 6 is the number to keep. Step 0 is run as
published and without the work that changes none of its outputs.
"""

# ruff: noqa: E402  (the path comes before the imports)

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack, closing
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch

from videomt_bench.cost.breakdown import frame_times
from videomt_bench.cost.clock import Setting, running
from videomt_bench.cost.names import ordered
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant

STEPS = ("step0_cavis", "step0_cavis_lean", "step6_videomt")
ENCODERS = {size: f"vit_{size}_patch14_{{}}dinov2" for size in ("small", "base", "large")}


def build(step: str, encoder: str) -> VideoSegmenter:
    """A step at the sizes of YouTube-VIS; CAVIS has an encoder without register tokens."""
    registers = "" if step.startswith("step0") else "reg4_"
    name = ENCODERS[encoder].format(registers)
    return load_variant(step).build(ModelSpec(EncoderSpec(name), 40, 200))


def measure(
    models: dict[str, VideoSegmenter], size: tuple[int, int], frames: int, warmup: int
) -> dict[str, list[dict[str, float]]]:
    """Step -> milliseconds by component of every frame after the warm-up."""
    noise = torch.randn(4, 1, 3, *size, generator=torch.Generator().manual_seed(0))
    found: dict[str, list[dict[str, float]]] = {step: [] for step in models}
    with ExitStack() as stack:
        times = {}
        for step, model in models.items():
            stream = stack.enter_context(running(model, Setting()))
            times[step] = stack.enter_context(
                closing(frame_times(stream, lambda i: noise[i % len(noise)]))
            )
        for i in range(warmup + frames):
            for step, frame in times.items():
                milliseconds = next(frame)
                print(f"frame {i} of {step}: {sum(milliseconds.values()):.0f} ms", file=sys.stderr)
                if i >= warmup:
                    found[step].append(milliseconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=ENCODERS, default="large")
    parser.add_argument("--size", type=int, nargs=2, default=(448, 800))
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    models = {step: build(step, arguments.encoder) for step in STEPS}
    found = measure(models, tuple(arguments.size), arguments.frames, arguments.warmup)
    fastest = {step: min(frames, key=lambda x: sum(x.values())) for step, frames in found.items()}
    totals = {step: sum(frame.values()) for step, frame in fastest.items()}
    names = ordered(name for frame in fastest.values() for name in frame)
    print(f"{'milliseconds of a frame':24}" + "".join(f"{step:>18}" for step in fastest))
    for name in names:
        print(f"{name:24}" + "".join(f"{frame.get(name, 0):18.1f}" for frame in fastest.values()))
    print(f"{'sum':24}" + "".join(f"{total:18.1f}" for total in totals.values()))
    ratios = {step: total / totals[STEPS[-1]] for step, total in totals.items()}
    print(f"{'ratio to step 6':24}" + "".join(f"{ratio:18.2f}" for ratio in ratios.values()))
    document = {
        "encoder": arguments.encoder,
        "size": list(arguments.size),
        "threads": arguments.threads,
        "milliseconds": fastest,
        "ratio": ratios,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
