"""One training iteration of step 6, against a straightforward loop over layers, frames and images.

    python tests/benchmarks/bench_training.py
    python tests/benchmarks/bench_training.py --rounds 5 --profile

Not a test of time, but both must have equal losses (1e-4) with the same random points, which is
checked first. The two take turns in one process, forward, losses, backward and optimizer step; the
median of each counts, and the ratio is the number to keep. On a machine with other work use one
thread and read the line of the processor's seconds. The loop is what one would write from
the paper: it encodes and decodes image by image, predicts all masks of every layer, and goes
through layers, images, frames and objects for the losses.
"""

# ruff: noqa: E402  (the path comes before the imports)

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    grid_sample,
    softplus,
)

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.training.layers import LossSettings, Points
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.optim import OptimSettings, build_optimizer

CLASSES, QUERIES = 40, 200
SETTINGS = LossSettings()
FIRST = ((0, 0, 2), (0, 1, 3, 3))
"""The first frame of every object of both clips."""

Draw = Callable[..., Tensor]


# The straightforward loop


def plain_iteration(model: VideoSegmenter, frames: Tensor, targets: list[ClipTargets], draw: Draw):
    """Losses of a batch (B, T, 3, H, W), image by image."""
    clips = [[] for _ in targets]
    for clip, images in zip(clips, frames, strict=True):
        queries = model.memory.learned.weight[None]
        for image in images:
            layers, queries = plain_image(model, image[None], queries)
            clip.append(layers)
    return plain_losses(clips, targets, draw)


def plain_image(model: VideoSegmenter, image: Tensor, queries: Tensor):
    """[(class logits (Q, C+1), mask logits (Q, h, w)) of each layer], and the next queries."""
    segmenter = model.segmenter
    encoder = segmenter.encoder
    grid = (image.shape[-2] // 16, image.shape[-1] // 16)

    def predict(x: Tensor) -> tuple[Tensor, Tensor]:
        x = encoder.norm(x)
        own, patches = x[:, :QUERIES], x[:, QUERIES + encoder.num_prefix :]
        features = patches.transpose(1, 2).unflatten(2, grid)
        for block in segmenter.upscale:
            features = block.norm(block.conv2(torch.nn.functional.gelu(block.conv1(features))))
        masks = torch.einsum("bqd,bdhw->bqhw", segmenter.mask_head(own), features)
        return segmenter.class_head(own)[0], masks[0]

    x = torch.cat([queries, encoder(image)["tokens"]], 1)
    layers = []
    for block in encoder.joint_blocks:
        layers.append(predict(x))
        x = block(x)
    layers.append(predict(x))
    return layers, model.memory.fuse(x[:, :QUERIES]) + model.memory.learned.weight


def plain_losses(clips, targets: list[ClipTargets], draw: Draw) -> dict[str, Tensor]:
    total = {"loss_class": 0.0, "loss_mask": 0.0, "loss_dice": 0.0}
    count = max(1, sum(target.present.numel() for target in targets))
    weight = torch.ones(CLASSES + 1)
    weight[-1] = SETTINGS.no_object_weight
    for layer in range(len(clips[0][0])):
        logits, wanted = [], []
        for b, target in enumerate(targets):
            held = plain_match([frame[layer] for frame in clips[b]], target, b, draw)
            for t, frame in enumerate(clips[b]):
                classes, masks = frame[layer]
                label = torch.full((QUERIES,), CLASSES)
                for o, q in held.items():
                    label[q] = target.labels[o]
                    mask, dice = plain_mask(masks[q], target.masks[o, t], layer, b, o, t, draw)
                    total["loss_mask"] += SETTINGS.mask_weight * mask / count
                    total["loss_dice"] += SETTINGS.dice_weight * dice / count
                logits.append(classes)
                wanted.append(label)
        loss = cross_entropy(torch.cat(logits), torch.cat(wanted), weight)
        total["loss_class"] += SETTINGS.class_weight * loss
    return total


@torch.no_grad()
def plain_match(frames, target: ClipTargets, b: int, draw: Draw) -> dict[int, int]:
    """Object -> query, by first appearance."""
    held: dict[int, int] = {}
    first = target.present.int().argmax(1).tolist()
    for t, (classes, masks) in enumerate(frames):
        new = [o for o, start in enumerate(first) if start == t]
        if not new:
            continue
        free = [q for q in range(QUERIES) if q not in held.values()]
        points = draw("match", b, t)
        x = sample(masks[free], points)
        y = sample(target.masks[new, t].float(), points)
        ce = (softplus(x).mean(1)[:, None] - x @ y.T / x.shape[1]) * SETTINGS.mask_weight
        p = x.sigmoid()
        dice = 1 - (2 * p @ y.T + 1) / (p.sum(1)[:, None] + y.sum(1) + 1)
        likelihood = classes[free].softmax(-1)[:, target.labels[new]]
        cost = ce + SETTINGS.dice_weight * dice - SETTINGS.class_weight * likelihood
        for q, o in zip(*linear_sum_assignment(cost.numpy()), strict=True):
            held[new[o]] = free[q]
    return held


def plain_mask(x: Tensor, y: Tensor, layer: int, b: int, o: int, t: int, draw: Draw):
    """Cross-entropy and Dice of one mask at points where it is uncertain, and others."""
    uncertain = int(SETTINGS.importance * SETTINGS.num_points)
    candidates, others = draw("candidates", layer, b, o, t), draw("others", layer, b, o, t)
    with torch.no_grad():
        order = sample(x[None], candidates)[0].abs().topk(uncertain, largest=False).indices
    points = torch.cat([candidates[order], others])
    x, y = sample(x[None], points)[0], sample(y[None].float(), points)[0]
    p = x.sigmoid()
    dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return binary_cross_entropy_with_logits(x, y), dice


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """(K, P) of maps (K, h, w) at points (P, 2)."""
    return grid_sample(maps[None], 2 * points[None, None] - 1, align_corners=False)[0, :, 0]


def free_draw(kind: str, *_: int) -> Tensor:
    total = SETTINGS.num_points
    rest = total - int(SETTINGS.importance * total)
    number = {"match": total, "candidates": int(SETTINGS.oversample * total), "others": rest}[kind]
    return torch.rand(number, 2)


# Ours


def our_iteration(model: VideoSegmenter, frames: Tensor, targets: list[ClipTargets], *points):
    output, _ = model(frames)
    return clip_losses(output, targets, "first_appearance", SETTINGS, False, None, *points)


class Recorded(Points):
    """Random points that are kept."""

    def draw(self, rows, number, device, depth=1):
        points = super().draw(rows, number, device, depth)
        kept.append(points)
        return points


kept: list[Tensor] = []


def check(model: VideoSegmenter, frames: Tensor, targets: list[ClipTargets]) -> dict[str, float]:
    """The largest relative difference of the losses with the same points, which must be small."""
    kept.clear()
    with torch.no_grad():
        ours = our_iteration(model, frames, targets, Recorded())
        at = [(b, t) for b, first in enumerate(FIRST) for t in sorted(set(first))]
        pairs = [
            (b, o, t)
            for b, first in enumerate(FIRST)
            for o in range(len(first))
            for t in range(frames.shape[1])
        ]

        def recorded(kind: str, *where: int) -> Tensor:
            if kind == "match":
                return kept[0][at.index(where)]
            layer, *pair = where
            row = layer * len(pairs) + pairs.index(tuple(pair))
            return kept[1 if kind == "candidates" else 2][row]

        plain = plain_iteration(model, frames, targets, recorded)
    differences = {n: abs(float(ours[n] - plain[n])) / float(plain[n]) for n in plain}
    if ours.keys() != plain.keys() or not max(differences.values()) < 1e-4:
        raise SystemExit(f"the losses differ: {ours} and {plain}")
    return differences


def build(size: int) -> VideoSegmenter:
    spec = EncoderSpec("vit_small_patch14_reg4_dinov2", image_size=size)
    return load_variant("step6_videomt").build(ModelSpec(spec, CLASSES, QUERIES)).train()


def make_batch(frames: int, size: int) -> tuple[Tensor, list[ClipTargets]]:
    """Noise, and boxes that appear one after the other."""
    targets = []
    for first in FIRST:
        present = torch.stack([torch.arange(frames) >= start for start in first])
        masks = torch.zeros(len(first), frames, size, size, dtype=torch.bool)
        for o, t in present.nonzero().tolist():
            top, left = 20 * o + 5 * t, 40 * o + 8 * t
            masks[o, t, top : top + 90, left : left + 70] = True
        targets.append(ClipTargets(torch.arange(len(first)), masks, present))
    return torch.randn(len(FIRST), frames, 3, size, size), targets


def timed(work, model: VideoSegmenter, optimizer, *arguments) -> dict[str, float]:
    """Seconds of a whole iteration, by part."""
    start, processor = time.perf_counter(), time.process_time()
    loss = sum(work(model, *arguments).values())
    forward = time.perf_counter()
    loss.backward()
    backward = time.perf_counter()
    optimizer.step()
    optimizer.zero_grad()
    end = time.perf_counter()
    return {
        "forward and losses": forward - start,
        "backward": backward - forward,
        "optimizer": end - backward,
        "iteration": end - start,
        "processor": time.process_time() - processor,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true", help="print the operators of ours")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = build(arguments.size)
    batch = make_batch(arguments.frames, arguments.size)
    differences = check(model, *batch)
    print(f"largest relative difference of the losses: {max(differences.values()):.1e}")
    optimizer = build_optimizer(model, OptimSettings())
    works = {"ours": (our_iteration, ()), "loop": (plain_iteration, (free_draw,))}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in works}
    for i in range(arguments.rounds + 1):
        for name, (work, more) in works.items():
            seconds = timed(work, model, optimizer, *batch, *more)
            print(f"{name}, round {i}: {seconds['iteration']:.2f} s", file=sys.stderr)
            if i:
                found[name].append(seconds)
    if arguments.profile:
        with torch.profiler.profile() as profile:
            timed(our_iteration, model, optimizer, *batch)
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))
    medians = {
        name: {part: median(x[part] for x in rounds) for part in rounds[0]}
        for name, rounds in found.items()
    }
    print(f"{'seconds':24}" + "".join(f"{name:>10}" for name in medians) + f"{'ratio':>10}")
    for part in medians["ours"]:
        ours, loop = medians["ours"][part], medians["loop"][part]
        print(f"{part:24}{ours:10.2f}{loop:10.2f}{ours / loop:10.2f}")
    ratio = medians["ours"]["iteration"] / medians["loop"]["iteration"]
    print(json.dumps({"threads": arguments.threads, "seconds": medians, "ratio": ratio}))


if __name__ == "__main__":
    main()
