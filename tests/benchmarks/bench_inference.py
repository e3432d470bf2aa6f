"""VidEoMT-S on the CPU: this project beside the port in transformers, and beside a plain loop.

    python tests/benchmarks/bench_inference.py
    python tests/benchmarks/bench_inference.py --rounds 5 --threads 2

Not a test: it asserts nothing about time. The sides take turns in one process and the fastest round
of each counts, in time and in CPU time; the ratios are the numbers to keep. How far their results
differ is printed beside them.

The port takes square inputs only; 608 × 608 has about as many patches as 448 × 800. The plain loop
is what one writes first: frame by frame, all masks of all frames kept, all resized to the size of
the video, and the best ten chosen at the end.
"""

# ruff: noqa: E402  (the path comes before the imports)

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch
import transformers
from models.test_transformers_parity import from_transformers
from torch import Tensor

from videomt_bench.data.clips import load_video_frames, normalize
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import YTVISIndex, locate_ytvis, read_ytvis
from videomt_bench.evaluation.inference import predict_videos
from videomt_bench.evaluation.stream import InferenceSettings, network_size, pad_to_multiple
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.models.postprocess import resize_logits, top_k

ENCODER, CLASSES, QUERIES, TOP = "vit_small_patch14_reg4_dinov2", 40, 200, 10


Seconds = dict[str, tuple[float, float]]


def turns(sides: dict[str, Callable[[], Any]], rounds: int) -> Seconds:
    """Side -> least seconds and CPU seconds of a round; the first round of each does not count."""
    best = {name: (float("inf"), float("inf")) for name in sides}
    for i in range(rounds + 1):
        for name, work in sides.items():
            start, busy = time.perf_counter(), time.process_time()
            work()
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            print(f"round {i} of {name}: {seconds:.2f} s, CPU {busy:.2f} s", file=sys.stderr)
            if i:
                best[name] = (min(best[name][0], seconds), min(best[name][1], busy))
    return best


def beside_transformers(size: int, frames: int, rounds: int) -> dict[str, Any]:
    """A clip through the port, and through the same weights here."""
    config = transformers.VideomtConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        num_blocks=3,
        image_size=size,
        num_queries=QUERIES,
        id2label={i: str(i) for i in range(CLASSES)},
    )
    port = transformers.VideomtForUniversalSegmentation(config).eval()
    for parameter in port.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    port.attn_mask_probs.zero_()
    ours = load_variant("step6_videomt").build(
        ModelSpec(EncoderSpec(ENCODER, size), CLASSES, QUERIES)
    )
    ours.eval().load_state_dict(from_transformers(port.state_dict()))
    clip = torch.randn(1, frames, 3, size, size)
    expected, (found, _) = port(pixel_values_videos=clip), ours(clip)
    difference = (found.mask_logits[0] - expected.masks_queries_logits).abs().max()
    seconds = turns(
        {
            "transformers": lambda: port(pixel_values_videos=clip),
            "all masks": lambda: ours(clip),
            "ten masks": lambda: best_masks(ours, clip),
        },
        rounds,
    )
    return report(seconds, frames) | {"input": [size, size], "difference": float(difference)}


def best_masks(model: VideoSegmenter, clip: Tensor) -> list[Tensor]:
    """The masks of the best pairs of a clip, made at its end."""
    output, _ = model(clip, masks=False)
    queries = top_k(output.class_logits[0].mean(0), TOP).queries.unique()
    assert output.pixels is not None
    return [
        model.segmenter.masks(output.embeddings[:, t, queries], output.pixels[:, t])  # type: ignore[operator]
        for t in range(clip.shape[1])
    ]


def beside_a_loop(frames: int, rounds: int) -> dict[str, Any]:
    """A 720p video from its files to RLE, by this project and by the plain loop."""
    model = load_variant("step6_videomt").build(ModelSpec(EncoderSpec(ENCODER), CLASSES, QUERIES))
    model.eval()
    settings = InferenceSettings(top_k=TOP)
    with tempfile.TemporaryDirectory() as folder:
        generator = GeneratorSettings(
            videos=1, frames=frames, height=720, width=1280, split="valid"
        )
        make_ytvis(Path(folder), generator)
        index = read_ytvis(*locate_ytvis(Path(folder), "valid"))
        categories = index.categories * CLASSES
        arguments = (model, index.videos, index.frames_root, categories, settings)
        ours = [p.segmentations for p in predict_videos(*arguments)]
        plain = plain_loop(model, index, settings)
        seconds = turns(
            {
                "plain loop": lambda: plain_loop(model, index, settings),
                "this project": lambda: list(predict_videos(*arguments)),
            },
            rounds,
        )
    assert len(ours) == len(plain) == TOP
    differing = sum(
        x != y for a, b in zip(ours, plain, strict=True) for x, y in zip(a, b, strict=True)
    )
    return report(seconds, frames) | {"input": [448, 800], "differing_masks": differing}


def plain_loop(
    model: VideoSegmenter, index: YTVISIndex, settings: InferenceSettings
) -> list[list[Any]]:
    """The RLE of the best pairs of a video, with no thought of cost."""
    from videomt_bench.evaluation.inference import _encode

    video = index.videos[0]
    inner = network_size(video, settings)
    state, logits, masks = model.init_state(), [], []
    for i in range(len(video.file_names)):
        frame = load_video_frames(video, index.frames_root, [i], inner)
        padded = pad_to_multiple(normalize(frame), settings.divisor)
        output, state = model.step(padded, state)
        logits.append(output.class_logits[0])
        size = (padded.shape[-2], padded.shape[-1])
        full = resize_logits(output.mask_logits, size, inner, (video.height, video.width))
        masks.append(full[0] > 0)
    best = top_k(torch.stack(logits).mean(0), TOP)
    return [[_encode(frame[q][None])[0] for frame in masks] for q in best.queries]


def report(seconds: Seconds, frames: int) -> dict[str, Any]:
    """Milliseconds per frame, and ratios to the first side."""
    first = next(iter(seconds.values()))
    found: dict[str, Any] = {}
    for i, clock in enumerate(("", "cpu_")):
        found[f"{clock}ms_per_frame"] = {
            n: round(s[i] / frames * 1e3, 1) for n, s in seconds.items()
        }
        found[f"{clock}ratio"] = {n: round(s[i] / first[i], 3) for n, s in seconds.items()}
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=int, default=608)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(json.dumps(beside_transformers(arguments.size, arguments.frames, arguments.rounds)))
    print(json.dumps(beside_a_loop(arguments.frames, arguments.rounds)))


if __name__ == "__main__":
    main()
