"""Small models and real video files for the tests of prediction."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from videomt_bench.data.classes import Category, PanopticCategory
from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant
from videomt_bench.predict.classes import Classes, Task
from videomt_bench.predict.predictor import Predictor, Ranking
from videomt_bench.predict.source import Source, SourceFrame

SIZES = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
SETTINGS = InferenceSettings(short_side=None, divisor=8, top_k=6, window=1)


def tiny_model(sure: float = 6.0) -> VideoSegmenter:
    """An untrained model, made ``sure`` of its classes; they vary, and masks are partly full."""
    torch.manual_seed(2)
    model = load_variant("step6_videomt").build(SIZES).eval()
    head = model.segmenter.class_head
    with torch.no_grad():
        head.weight.mul_(sure)
        head.bias[-1] -= sure / 2
    return model


def tiny_classes(task: Task) -> Classes:
    """Two things and two classes of stuff."""
    if task == "instances":
        return Classes(tuple(Category(i + 1, n) for i, n in enumerate("abcd")), task)
    pairs = enumerate(("cat", "dog", "sky", "sea"))
    return Classes(tuple(PanopticCategory(10 + i, n, i < 2) for i, n in pairs), task)


def tiny_predictor(task: Task = "instances", **ranking: float) -> Predictor:
    """The tiny model for a task."""
    return Predictor(tiny_model(), tiny_classes(task), SETTINGS, {}, Ranking(**ranking))


def pictures(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Frames uint8 (T, H, W, 3): a smooth background and a bright patch that moves."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 255 // (height + width)
    frames = np.repeat((ramp[..., None] * rng.uniform(0.3, 1, 3))[None], count, 0)
    for t, frame in enumerate(frames):
        left = 3 * t % (width - 12)
        frame[6:20, left : left + 12] = (250, 240, 30)
    return frames.astype(np.uint8)


def write_folder(folder: Path, frames: np.ndarray) -> Path:
    """Frames as ``0.png``, ``1.png``, … — names that sort wrongly as text."""
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{t}.png")
    return folder


def write_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    rate: int = 10,
) -> Path:
    """A video file in any codec and container; ``times`` in seconds, else by the rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        for t, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts = round(1000 * (t / rate if times is None else times[t]))
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def source_of(frames: np.ndarray, rate: float = 10.0) -> Source:
    """Frames in memory as a source."""
    made = (SourceFrame(t, f"{t:06d}", t / rate, frame) for t, frame in enumerate(frames))
    return Source("video", rate, len(frames), made)
