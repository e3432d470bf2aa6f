from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from videomt_bench.data import augment
from videomt_bench.data.augment import Augmentation
from videomt_bench.errors import BenchError

OFFICIAL = Augmentation(
    short_sides=(320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640), crop=True, flip=0.5
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def coded_clip(t: int = 3, h: int = 60, w: int = 90) -> tuple[Tensor, Tensor]:
    """Two objects per frame, in channel 0 and in channel 1 of the frames: 255 inside, 0 outside."""
    masks = torch.zeros(2, t, h, w, dtype=torch.bool)
    for i in range(t):
        masks[0, i, 10 : 30 + i, 5 + 3 * i : 40] = True
        masks[1, i, 25 + i : 50, 45 : 80 - 4 * i] = True
    frames = torch.zeros(t, 3, h, w, dtype=torch.uint8)
    frames[:, :2] = masks.transpose(0, 1) * 255
    return frames, masks


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((720, 1280), 448, (448, 796)),
        ((1080, 1920), 448, (448, 796)),
        ((480, 640), 448, (448, 597)),
        ((720, 1280), 480, (480, 853)),
        ((1080, 1920), 544, (544, 967)),
        ((720, 1280), 720, (720, 1280)),
        ((480, 853), 720, (720, 1280)),
        ((1280, 720), 448, (796, 448)),
        ((100, 1000), 448, (133, 1333)),
        ((48, 48), 48, (48, 48)),
    ],
)
def test_table_of_test_sizes(
    size: tuple[int, int], short_side: int, expected: tuple[int, int]
) -> None:
    assert augment.test_size(*size, short_side) == expected


def test_padded_table() -> None:
    sizes = [(720, 1280, 448), (480, 640, 448), (720, 1280, 480), (1080, 1920, 544)]
    padded = [tuple(-(-x // 32) * 32 for x in augment.test_size(*s)) for s in sizes]
    assert padded == [(448, 800), (448, 608), (480, 864), (544, 992)]


def test_nothing_to_do_changes_nothing() -> None:
    frames, masks = coded_clip()
    after = Augmentation()(frames, masks, rng())
    assert after[0] is frames
    assert after[1] is masks


SMALL = Augmentation(
    short_sides=(40, 50, 77),
    max_size=110,
    crop=True,
    flip=0.5,
    crop_probability=0.7,
    crop_short_sides=(50, 70),
    crop_range=(30, 60),
)


@pytest.mark.parametrize("seed", range(20))
def test_masks_follow_the_pixels_in_every_frame(seed: int) -> None:
    frames, masks = SMALL(*coded_clip(), rng(seed))
    assert frames.shape[-2:] == masks.shape[-2:]
    assert (frames.dtype, masks.dtype) == (torch.uint8, torch.bool)
    coded = frames[:, :2].transpose(0, 1) > 127
    # two resizes blur an edge by less than a pixel; a lost flip or a shifted crop costs far more
    wrong = (coded != masks).float().mean((2, 3))
    assert wrong.max() < 0.06
    assert masks.any((2, 3)).any()


def test_resize_and_flip_keep_the_outline() -> None:
    frames, masks = Augmentation(short_sides=(120,), flip=1.0)(*coded_clip(), rng())
    assert masks.shape == (2, 3, 120, 180)
    assert torch.equal(frames[:, :2].transpose(0, 1) > 127, masks)  # exact at an integer factor
    original = coded_clip()[1]
    assert torch.equal(masks[..., ::2, ::2], original.flip(-1))


def test_one_draw_for_all_frames() -> None:
    frame = torch.randint(256, (1, 3, 60, 90), dtype=torch.uint8, generator=torch.manual_seed(0))
    masks = (frame[:, :1] > 100).expand(1, 4, -1, -1)
    for seed in range(10):
        frames, after = SMALL(frame.repeat(4, 1, 1, 1), masks, rng(seed))
        assert (frames == frames[:1]).all()
        assert (after == after[:, :1]).all()


def test_frames_are_resized_as_pil_does() -> None:
    pixels = rng().integers(0, 256, (2, 60, 90, 3), dtype=np.uint8)
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    after, _ = Augmentation(short_sides=(41,))(frames, torch.zeros(0, 2, 60, 90).bool(), rng())
    for tensor, image in zip(after, pixels, strict=True):
        expected = Image.fromarray(image).resize((62, 41), Image.Resampling.BILINEAR)
        difference = tensor.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1


def test_masks_are_resized_as_pil_does() -> None:
    mask = rng().random((60, 90)) < 0.5
    frames = torch.zeros(1, 3, 60, 90, dtype=torch.uint8)
    augmentation = Augmentation(short_sides=(41,))
    _, after = augmentation(frames, torch.from_numpy(mask)[None, None], rng())
    expected = Image.fromarray(mask.astype(np.uint8)).resize((62, 41), Image.Resampling.NEAREST)
    assert np.array_equal(after[0, 0].numpy(), np.asarray(expected, dtype=bool))


def test_official_sizes() -> None:
    frames = torch.zeros(1, 3, 720, 1280, dtype=torch.uint8)
    masks = torch.zeros(0, 1, 720, 1280, dtype=torch.bool)
    uncropped, sizes = set(), set()
    for seed in range(40):
        after, after_masks = OFFICIAL(frames, masks, rng(seed))
        size = tuple(after.shape[-2:])
        assert tuple(after_masks.shape) == (0, 1, *size)
        assert max(size) <= 768
        (uncropped if abs(size[1] / size[0] - 16 / 9) < 0.02 else sizes).add(size)
    assert min(min(s) for s in sizes | uncropped) >= 200
    assert len(uncropped) > 3
    assert len(sizes) > 8
    assert all(max(s) <= 768 for s in uncropped)


def test_crop_range_and_position() -> None:
    ramp = torch.arange(100, dtype=torch.uint8)
    frames = torch.stack((ramp[:, None].expand(100, 100), ramp[None].expand(100, 100)))
    frames = torch.cat((frames, frames[:1]))[None]
    augmentation = Augmentation(
        crop=True, crop_probability=1.0, crop_short_sides=(100,), crop_range=(98, 400)
    )
    heights, tops = set(), set()
    for seed in range(60):
        after, _ = augmentation(frames, torch.zeros(0, 1, 100, 100).bool(), rng(seed))
        heights.add(after.shape[-2])
        tops.add(int(after[0, 0, 0, 0]))
    assert heights == {98, 99, 100}
    assert tops == {0, 1, 2}


def test_flip_probability_and_determinism() -> None:
    frames, masks = coded_clip(1)
    flip = Augmentation(flip=0.25)
    generator = rng()
    flipped = [not torch.equal(flip(frames, masks, generator)[0], frames) for _ in range(400)]
    assert 70 < sum(flipped) < 130
    one, two = (SMALL(frames, masks, rng(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    different = [SMALL(frames, masks, rng(seed))[0].shape for seed in range(12)]
    assert any(a != b for a, b in pairwise(different))


def numbered(height: int, width: int) -> Tensor:
    """A frame that says of each pixel in which row and in which column it is."""
    rows = torch.arange(height, dtype=torch.uint8)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.uint8).expand(height, width)
    return torch.stack((rows, columns, rows))[None]


@pytest.mark.parametrize(
    ("size", "sides", "heights", "widths"),
    [
        ((90, 200), (60, 60), {60}, {60}),
        ((50, 200), (60, 60), {50}, {60}),
        ((50, 55), (60, 60), {50}, {55}),
        ((90, 200), (60, 62), {60, 61, 62}, {60, 61, 62}),
        ((61, 200), (60, 70), {60, 61}, set(range(60, 71))),
    ],
)
def test_the_final_crop_is_of_its_size_where_the_frame_has_it(
    size: tuple[int, int], sides: tuple[int, int], heights: set[int], widths: set[int]
) -> None:
    """As crops of detectron2's types "absolute" and "absolute_range", which do not pad."""
    frames, masks = numbered(*size).expand(3, -1, -1, -1), torch.rand(2, 3, *size) < 0.5
    found, tops, lefts = set(), set(), set()
    for seed in range(120):
        after, own = Augmentation(final_crop=sides)(frames, masks, rng(seed))
        height, width = after.shape[-2:]
        top, left = int(after[0, 0, 0, 0]), int(after[0, 1, 0, 0])
        area = slice(top, top + height), slice(left, left + width)
        assert torch.equal(after, frames[..., area[0], area[1]])
        assert torch.equal(own, masks[..., area[0], area[1]])
        found.add((height, width))
        tops.add(top)
        lefts.add(left)
    assert ({h for h, _ in found}, {w for _, w in found}) == (heights, widths)
    assert tops <= set(range(size[0] - min(heights) + 1))
    assert (max(tops) > 0) == (size[0] > min(heights))
    assert (max(lefts) > 0) == (size[1] > 60)


def test_the_final_crop_comes_after_the_resize_and_before_the_flip() -> None:
    frames, masks = coded_clip()
    plain = Augmentation(short_sides=(120,))(frames, masks, rng())
    cropped = Augmentation(short_sides=(120,), final_crop=(80, 80), flip=1.0)(frames, masks, rng())
    assert cropped[1].shape == (2, 3, 80, 80)
    windows = plain[1].unfold(2, 80, 1).unfold(3, 80, 1).permute(2, 3, 0, 1, 4, 5)
    places = (windows == cropped[1].flip(-1)).flatten(2).all(2).nonzero().tolist()
    images = [plain[0][..., y : y + 80, x : x + 80] for y, x in places]
    assert any(torch.equal(image, cropped[0].flip(-1)) for image in images)


def test_without_a_final_crop_nothing_is_drawn_for_it() -> None:
    """Clips stay what they were."""
    generators = rng(5), rng(5)
    SMALL(*coded_clip(), generators[0])
    expected = [generators[1].random() < 0.7]
    if expected[0]:
        side = int(generators[1].choice((50, 70)))
        height, width = augment.test_size(60, 90, side, 1333)
        sizes = [int(generators[1].integers(min(s, 30), min(s, 60) + 1)) for s in (height, width)]
        for s, own in zip((height, width), sizes, strict=True):
            generators[1].integers(s - own + 1)
    generators[1].choice((40, 50, 77))
    generators[1].random()
    assert generators[0].random() == generators[1].random()


@pytest.mark.parametrize("sides", [(0, 600), (600, 384), (-1, -1)])
@pytest.mark.parametrize("name", ["crop_range", "final_crop"])
def test_a_crop_of_no_size_is_one_sentence(name: str, sides: tuple[int, int]) -> None:
    with pytest.raises(BenchError, match=rf"{name} is \[{sides[0]}, {sides[1]}\]; valid: "):
        Augmentation(**{name: sides})
