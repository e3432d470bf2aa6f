"""A tiny training, and matching and losses stated once more: plain loops, brute force, numpy.

Run as a program, ``conftest.py FOLDER SECONDS``, it trains in FOLDER and reads slowly: every clip
takes SECONDS more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from videomt_bench.data.clips import Clip, ClipTargets
from videomt_bench.models import ClipOutput, ClipPrediction, EncoderSpec, ModelSpec, load_variant
from videomt_bench.models.video import VideoSegmenter
from videomt_bench.training.engine import TrainSettings, train
from videomt_bench.training.layers import LossSettings
from videomt_bench.training.optim import OptimSettings, parameter_groups

FRAMES, SIZE, CLASSES, QUERIES = 3, 32, 3, 5


class Stop(Exception):
    """Raised by a stream of clips that ends, as a process would."""


class RandomClips(Dataset[Clip]):
    """Sample i depends on i alone; it has ``objects`` objects, or 0 to 3.

    ``read`` holds the samples that were read, and ``stop`` is the first one that is not there.
    """

    def __init__(
        self, objects: int | None = None, stop: int | None = None, seconds: float = 0.0
    ) -> None:
        self.objects = objects
        self.stop = stop
        self.seconds = seconds
        self.read: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Clip:
        if self.stop is not None and i >= self.stop:
            raise Stop
        self.read.append(i)
        time.sleep(self.seconds)
        g = torch.Generator().manual_seed(i)
        shape = (FRAMES, 3, SIZE, SIZE)
        frames = torch.randint(0, 256, shape, generator=g, dtype=torch.uint8)
        count = int(torch.randint(0, 4, (), generator=g)) if self.objects is None else self.objects
        masks = torch.rand(count, FRAMES, SIZE, SIZE, generator=g) > 0.7
        masks[:1, 0] = False
        masks[1:2, -1] = False
        labels = torch.randint(0, CLASSES, (count,), generator=g)
        return Clip(frames, labels, masks, masks.flatten(2).any(2))


class UnequalClips(Dataset[Clip]):
    """Clips of 0 to 3 objects, every other one cropped: a batch has to be padded."""

    def __init__(self) -> None:
        self.clips = RandomClips()
        self.read = self.clips.read

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Clip:
        clip = self.clips[i]
        if i % 2 == 0:
            return clip
        masks = clip.masks[..., :24, :16]
        return replace(clip, frames=clip.frames[..., :24, :16], masks=masks)


def tiny_model(variant: str = "step6_videomt", joint_blocks: int = 3) -> VideoSegmenter:
    """The same random weights at every call."""
    torch.manual_seed(0)
    encoder = EncoderSpec("vit_tiny_conv_patch8", SIZE, 8, joint_blocks)
    return load_variant(variant).build(ModelSpec(encoder, CLASSES, QUERIES))


def awake(model: VideoSegmenter) -> VideoSegmenter:
    """The model with noise instead of zeros: zero weights, such as those of deformable attention
    at the start, pass no gradient on."""
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def tiny_settings(**changes: Any) -> TrainSettings:
    """12 iterations, a checkpoint after each third one."""
    arguments: dict[str, Any] = dict(
        iterations=12,
        batch=2,
        checkpoint_interval=3,
        divisor=8,
        losses=LossSettings(num_points=16),
        optim=OptimSettings(lr=1e-3, warmup=(2, 2)),
    )
    return TrainSettings(**{**arguments, **changes})


PLAIN_SETTINGS = OptimSettings(lr=1e-2, layer_decay=1.0, warmup=(0, 0))


def plain_descent(model: VideoSegmenter, settings: OptimSettings) -> torch.optim.SGD:
    """Gradient descent without momentum: weights are linear in the gradients."""
    groups = [{**g, "names": None} for g in parameter_groups(model, settings)]
    return torch.optim.SGD(groups, lr=settings.lr)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """The parts of a tiny training."""
    return SimpleNamespace(
        model=tiny_model,
        awake=awake,
        settings=tiny_settings,
        Clips=RandomClips,
        UnequalClips=UnequalClips,
        Stop=Stop,
        script=__file__,
        plain_descent=plain_descent,
        plain_settings=PLAIN_SETTINGS,
    )


# Which objects are where: late, leaving, returning, everywhere, once.
PRESENCE = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]], bool)


def random_targets(counts: tuple[int, ...], size: int = 16) -> list[ClipTargets]:
    """One clip of four frames per count, with random boxes; which object does what is random."""
    targets = []
    for count in counts:
        present = torch.from_numpy(PRESENCE[np.random.permutation(len(PRESENCE))[:count]])
        masks = torch.zeros(count, 4, size, size, dtype=torch.bool)
        for o, t in present.nonzero().tolist():
            top, left = np.random.randint(0, size // 2, 2)
            height, width = np.random.randint(size // 3, size // 2, 2)
            masks[o, t, top : top + height, left : left + width] = True
        labels = torch.from_numpy(np.random.randint(0, CLASSES, count))
        targets.append(ClipTargets(labels, masks, present))
    return targets


def random_output(batch: int, queries: int, layers: int = 3, size: int = 8) -> ClipOutput:
    """Leaf tensors; the last layer is the output itself."""

    def prediction() -> tuple[torch.Tensor, torch.Tensor]:
        classes = torch.randn(batch, 4, queries, CLASSES + 1) * 2
        masks = torch.randn(batch, 4, queries, size, size) * 3
        return classes.requires_grad_(), masks.requires_grad_()

    nothing = torch.zeros(batch, 4, queries, 1)
    intermediate = tuple(ClipPrediction(*prediction()) for _ in range(layers - 1))
    return ClipOutput(*prediction(), nothing, nothing, intermediate)


@pytest.fixture
def clips() -> Callable[..., tuple[ClipOutput, list[ClipTargets]]]:
    """(seed, objects of each clip, queries) -> predictions of three layers and their targets."""

    def make(
        seed: int, counts: tuple[int, ...], queries: int = QUERIES
    ) -> tuple[ClipOutput, list[ClipTargets]]:
        np.random.seed(seed)
        torch.manual_seed(seed)
        targets = random_targets(counts)
        return random_output(len(counts), queries), targets

    return make


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Everything that ``torch.rand`` draws from now on."""
    seen: list[np.ndarray] = []
    rand = torch.rand

    def record(*size: int, **options: Any) -> torch.Tensor:
        drawn = rand(*size, **options)
        seen.append(drawn.double().cpu().numpy())
        return drawn

    monkeypatch.setattr(torch, "rand", record)
    return seen


def repeat_points(rand: Callable[..., torch.Tensor]) -> tuple[Callable[..., torch.Tensor], Any]:
    """``rand`` with every row of points the same, and what gives the row of a length."""

    def row(number: int) -> torch.Tensor:
        return rand(number, 2, generator=torch.Generator().manual_seed(number))

    def repeated(*size: int, **options: Any) -> torch.Tensor:
        if size[-1] != 2 or "generator" in options:
            return rand(*size, **options)
        return row(size[-2]).expand(*size).to(options.get("device")).clone()

    return repeated, row


@pytest.fixture
def same_points(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], np.ndarray]:
    """Every row of points that is drawn is the same; gives the row of a length."""
    repeated, row = repeat_points(torch.rand)
    monkeypatch.setattr(torch, "rand", repeated)
    return lambda number: row(number).double().numpy()


def bilinear(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of an image at points x, y in 0..1 of its area; beyond the outer pixels is zero."""
    height, width = image.shape
    u, v = points[:, 0] * width - 0.5, points[:, 1] * height - 0.5
    columns = np.maximum(0, 1 - abs(u[:, None] - np.arange(width)))
    rows = np.maximum(0, 1 - abs(v[:, None] - np.arange(height)))
    return np.einsum("ph,hw,pw->p", rows, image, columns)


def binary_cross_entropy(x: np.ndarray, y: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-x))
    return float(np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p)))


def dice(x: np.ndarray, y: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-x))
    return float(1 - (2 * np.sum(p * y) + 1) / (np.sum(p) + np.sum(y) + 1))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def arrays(output: ClipOutput) -> list[tuple[np.ndarray, np.ndarray]]:
    """Class and mask logits of each layer in double precision."""
    return [
        (p.class_logits.detach().double().numpy(), p.mask_logits.detach().double().numpy())
        for p in (*output.intermediate, output)
    ]


def cost(
    layer: tuple[np.ndarray, np.ndarray],
    target: ClipTargets,
    at: tuple[int, int],
    points: np.ndarray,
) -> np.ndarray:
    """Section 3.3: (Q, N) for clip and frame ``at``."""
    classes, masks = layer[0][at], layer[1][at]
    table = np.zeros((len(classes), len(target.labels)))
    for q in range(table.shape[0]):
        x = bilinear(masks[q], points)
        for o in range(table.shape[1]):
            y = bilinear(target.masks[o, at[1]].numpy().astype(float), points)
            likelihood = softmax(classes[q])[target.labels[o]]
            table[q, o] = -2 * likelihood + 5 * binary_cross_entropy(x, y) + 5 * dice(x, y)
    return table


def cheapest(table: np.ndarray, queries: list[int], objects: list[int]) -> dict[int, int]:
    """Object -> query of the cheapest assignment, by trying all of them."""
    if len(objects) <= len(queries):
        options = [dict(zip(objects, p, strict=True)) for p in permutations(queries, len(objects))]
    else:
        options = [dict(zip(p, queries, strict=True)) for p in permutations(objects, len(queries))]
    return min(options, key=lambda option: sum(table[q, o] for o, q in option.items()))


def restated_match(
    output: ClipOutput,
    targets: list[ClipTargets],
    matching: str,
    points: Callable[[int, int], np.ndarray],
) -> list[np.ndarray]:
    """Section 3.4; ``points`` gives those of (clip, frame)."""
    found = []
    for b, target in enumerate(targets):
        objects = range(len(target.labels))
        queries = range(output.class_logits.shape[2])
        pairs = np.full((1 + len(output.intermediate), len(objects), 4), -1)
        for layer, prediction in enumerate(arrays(output)):
            used: set[int] = set()
            for t in range(4):
                if matching == "per_frame":
                    here = [o for o in objects if target.present[o, t]]
                    free = list(queries)
                else:
                    here = [o for o in objects if target.present[o].tolist().index(True) == t]
                    free = [q for q in queries if q not in used]
                if not here:
                    continue
                table = cost(prediction, target, (b, t), points(b, t))
                for o, q in cheapest(table, free, here).items():
                    frames = [t] if matching == "per_frame" else range(4)
                    pairs[layer, o, frames] = q
                    used.add(q)
        found.append(pairs)
    return found


def restated_losses(
    output: ClipOutput,
    targets: list[ClipTargets],
    matching: str,
    pairs: list[np.ndarray],
    points: Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]],
) -> dict[str, float]:
    """Section 3.2, summed over layers.

    ``points`` gives candidates and others of (layer, clip, object, frame); three of four points
    are the candidates where the prediction is least certain.
    """
    totals = dict(loss_class=0.0, loss_mask=0.0, loss_dice=0.0)
    count = sum(
        4 * len(t.labels) if matching == "first_appearance" else int(t.present.sum())
        for t in targets
    )
    for layer, (classes, masks) in enumerate(arrays(output)):
        wanted = np.full(classes.shape[:3], CLASSES)
        for b, target in enumerate(targets):
            for o, t in np.argwhere(pairs[b][layer] >= 0):
                q = pairs[b][layer, o, t]
                wanted[b, t, q] = target.labels[o]
                candidates, others = points(layer, b, o, t)
                order = np.argsort(np.abs(bilinear(masks[b, t, q], candidates)))
                at = np.concatenate([candidates[order[: 3 * len(others)]], others])
                x = bilinear(masks[b, t, q], at)
                y = bilinear(target.masks[o, t].numpy().astype(float), at)
                totals["loss_mask"] += 5 * binary_cross_entropy(x, y) / max(count, 1)
                totals["loss_dice"] += 5 * dice(x, y) / max(count, 1)
        loss = weights = 0.0
        for where in np.ndindex(*wanted.shape):
            weight = 0.1 if wanted[where] == CLASSES else 1.0
            loss -= weight * np.log(softmax(classes[where])[wanted[where]])
            weights += weight
        totals["loss_class"] += 2 * loss / weights
    return totals


@pytest.fixture
def restated() -> SimpleNamespace:
    """``restated.match`` and ``restated.losses``."""
    return SimpleNamespace(match=restated_match, losses=restated_losses)


if __name__ == "__main__":
    torch.set_num_threads(1)
    slow = RandomClips(seconds=float(sys.argv[2]))
    train(tiny_model(), slow, tiny_settings(), Path(sys.argv[1]), seed=0)
