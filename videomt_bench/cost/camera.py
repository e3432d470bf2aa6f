"""A made-up camera for the clocks: JPEG frames in, instance masks at source size out."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from videomt_bench.data.clips import normalize
from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import FrameOutput
from videomt_bench.models.postprocess import resize_logits, top_k

JPEG_QUALITY = 90


@dataclass
class Camera:
    """Frames of ``source`` size, as the VIS protocol feeds them to a network of ``padded`` size.

    Sizes are (height, width). A frame is decoded, resized by PIL with its aspect ratio kept,
    normalised and padded at the right and the bottom; the masks go the same way back.
    """

    source: tuple[int, int]
    padded: tuple[int, int]
    top: int = 10
    """How many masks leave a frame."""
    distinct: int = 4
    """How many different frames there are; they repeat."""
    jpegs: list[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if min(*self.source, *self.padded) < 1:
            raise BenchError(f"frame sizes {self.source} and {self.padded} must be positive")
        self.jpegs = [_jpeg(self.source, seed) for seed in range(self.distinct)]

    @property
    def inner(self) -> tuple[int, int]:
        """The size of a frame inside its padding."""
        scale = min(p / s for p, s in zip(self.padded, self.source, strict=True))
        height, width = (max(1, int(s * scale + 0.5)) for s in self.source)
        return height, width

    def load(self, i: int) -> Tensor:
        """Frame ``i`` as the model wants it: (1, 3, H, W) on the host."""
        height, width = self.inner
        with Image.open(io.BytesIO(self.jpegs[i % self.distinct])) as image:
            pixels = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        frame = normalize(torch.from_numpy(np.array(pixels)).permute(2, 0, 1))
        return pad(frame, (0, self.padded[1] - width, 0, self.padded[0] - height))[None]

    def finish(self, output: FrameOutput) -> tuple[Tensor, Tensor]:
        """Scores (K,) and masks (K, *source) of the best pairs of a frame, on the host."""
        best = top_k(output.class_logits[0].float(), self.top)
        logits = output.mask_logits[:, best.queries].float()
        masks = resize_logits(logits, self.padded, self.inner, self.source) > 0
        return best.scores.cpu(), masks[0].cpu()


def _jpeg(size: tuple[int, int], seed: int) -> bytes:
    """Smooth colour patches with a little noise, so that decoding has work to do."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = Image.fromarray(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = smooth + rng.integers(-12, 13, (height, width, 3), dtype=np.int16)
    buffer = io.BytesIO()
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
