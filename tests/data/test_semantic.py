from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videomt_bench.data.augment import Augmentation
from videomt_bench.data.classes import VIPSEG
from videomt_bench.data.clips import TrainClips, load_video_frames
from videomt_bench.data.semantic import SemanticIndex, read_vspw
from videomt_bench.errors import BenchError

HEIGHT, WIDTH = 10, 14
LABEL = {category.id: label for label, category in enumerate(VIPSEG)}


def values_of(frame: int) -> np.ndarray:
    """Classes 60 (a thing), 0 and 123 (in frames 0 and 1), and both values for nothing."""
    values = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    values[2:] = 1
    values[3:7, frame : 4 + frame] = 61
    if frame < 2:
        values[8:, 9:] = 124
    values[:, 6] = 255
    return values


def write_video(root: Path, name: str, frames: int = 4, masks: bool = True) -> None:
    for kind in ("origin", "mask")[: 1 + masks]:
        (root / "data" / name / kind).mkdir(parents=True)
    for t in range(frames):
        image = Image.new("RGB", (WIDTH, HEIGHT), (50 * t,) * 3)
        image.save(root / "data" / name / "origin" / f"{t:08d}.jpg")
        if masks:
            mask = Image.fromarray(values_of(t))
            mask.save(root / "data" / name / "mask" / f"{t:08d}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("2_b", "10_a"):
        write_video(tmp_path, name)
    (tmp_path / "train.txt").write_text("2_b\n10_a\n")
    return tmp_path


def read(root: Path) -> SemanticIndex:
    return read_vspw(root / "train.txt", root / "data")


def mask_path(root: Path) -> Path:
    return root / "data" / "2_b" / "mask" / "00000001.png"


def test_reads_the_list_in_its_order(root: Path) -> None:
    index = read(root)
    assert [v.name for v in index.videos] == ["2_b", "10_a"]
    assert index.videos[0].file_names == [f"2_b/origin/{t:08d}.jpg" for t in range(4)]
    assert (index.videos[0].height, index.videos[0].width) == (HEIGHT, WIDTH)
    assert index.categories == VIPSEG
    assert index.annotated
    frames = load_video_frames(index.videos[0], index.frames_root, [3, 0])
    assert frames.shape == (2, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize("text", ["2_b\n10_a", "2_b\r\n10_a\r\n", "\n 2_b \n\n10_a\n\n"])
def test_the_last_line_counts_without_its_newline(root: Path, text: str) -> None:
    (root / "train.txt").write_bytes(text.encode())
    assert [v.name for v in read(root).videos] == ["2_b", "10_a"]


def test_targets_of_a_whole_video(root: Path) -> None:
    clip = TrainClips(read(root), 4, Augmentation(), 0)[0]
    values = np.stack([values_of(t) for t in range(4)])
    classes = [60, 123, 0]  # things first, each by id
    assert clip.labels.tolist() == [LABEL[c] for c in classes]
    assert clip.labels.tolist() == sorted(clip.labels.tolist())
    assert clip.labels.dtype == torch.long
    assert np.array_equal(clip.masks.numpy(), np.stack([values == c + 1 for c in classes]))
    assert clip.present.tolist() == [[True] * 4, [True, True, False, False], [True] * 4]


def test_present_everywhere_as_the_official_code(root: Path) -> None:
    clip = TrainClips(read(root), 4, Augmentation(), 0, present_everywhere=True)[0]
    assert clip.present.shape == (3, 4)
    assert clip.present.all()
    assert not clip.masks[1, 3].any()


def test_labels_and_every_class(root: Path) -> None:
    values = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    values.flat[:124] = np.arange(1, 125)
    values.flat[124:128] = [0, 253, 254, 255]
    Image.fromarray(values).save(mask_path(root))
    index = read(root)
    labels = index.load_labels(index.videos[0], 1)
    assert labels.flat[:124].tolist() == [LABEL[c] for c in range(124)]
    assert (labels.flat[124:] == -1).all()
    objects = index.load_objects(index.videos[0], [1])
    assert objects.labels.tolist() == list(range(124))
    order = objects.regions.ravel()[:124].astype(int) - 1
    assert order.tolist() == [LABEL[c] for c in range(124)]


def test_objects_know_their_frames(root: Path) -> None:
    index = read(root)
    objects = index.load_objects(index.videos[0], [1, 2, 1])
    assert objects.annotated.tolist() == [[True] * 3, [True, False, True], [True] * 3]
    assert objects.regions.shape == (1, 3, HEIGHT, WIDTH)


def test_a_frame_of_nothing_is_an_empty_clip(root: Path) -> None:
    for t in range(4):
        path = mask_path(root).with_name(f"{t:08d}.png")
        Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(path)
    everything = TrainClips(read(root), 2, Augmentation(), 0, drop_empty=False)
    empty = [c for c in (everything[0], everything[1]) if not len(c.labels)]
    assert len(empty) == 1
    assert empty[0].masks.shape == (0, 2, HEIGHT, WIDTH)
    drawn_again = TrainClips(read(root), 2, Augmentation(), 0)
    assert all(len(drawn_again[i].labels) for i in range(6))


def test_of_a_palette_the_indices_count(root: Path) -> None:
    image = Image.fromarray(values_of(1))
    image = image.convert("P")
    image.putdata(values_of(1).ravel().tolist())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(mask_path(root))
    index = read(root)
    expected = np.array([-1 if v in (0, 255) else LABEL[v - 1] for v in values_of(1).ravel()])
    assert np.array_equal(index.load_labels(index.videos[0], 1).ravel(), expected)


def test_maps_are_resized_exactly_like_masks(root: Path) -> None:
    stream = TrainClips(read(root), 4, Augmentation((25,), flip=1.0), 0)
    clip = stream[0]
    plain = TrainClips(read(root), 4, Augmentation(), 0)[0]
    frames = torch.zeros(4, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    rng = np.random.default_rng(0)
    _, masks = Augmentation((25,), flip=1.0)(frames, plain.masks, rng)
    assert torch.equal(clip.masks, masks)
    assert clip.frames.shape[-2:] == masks.shape[-2:] == (25, 35)


def test_deterministic(root: Path) -> None:
    augmentation = Augmentation((12, 20, 30), flip=0.5)
    one, two = (TrainClips(read(root), 2, augmentation, 7) for _ in range(2))
    for i in (9, 0, 4):
        assert torch.equal(one[i].frames, two[i].frames)
        assert torch.equal(one[i].masks, two[i].masks)


def test_a_test_split_has_no_masks(root: Path) -> None:
    write_video(root, "c", masks=False)
    (root / "train.txt").write_text("c\n")
    index = read(root)
    assert not index.annotated
    with pytest.raises(BenchError, match=r"train\.txt has no annotated videos"):
        TrainClips(index, 2, Augmentation(), 0)


def test_hidden_files_are_no_frames(root: Path) -> None:
    (root / "data" / "2_b" / "origin" / "._00000001.jpg").write_bytes(b"x")
    (root / "data" / "2_b" / "mask" / ".DS_Store").write_bytes(b"x")
    assert len(read(root).videos[0].file_names) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no videos"),
        ("\n\n", "lists no videos"),
        ("../data/2_b\n", r"'\.\./data/2_b', which is no folder name"),
        ("/etc\n", "'/etc', which is no folder"),
        ("..\n", r"'\.\.', which is no folder"),
        ("2_b\n2_b\n", "lists video '2_b' twice"),
    ],
)
def test_bad_lists(root: Path, text: str, words: str) -> None:
    (root / "train.txt").write_text(text)
    with pytest.raises(BenchError, match=rf"train\.txt .*{words}"):
        read(root)


def test_missing_files(root: Path) -> None:
    (root / "train.txt").write_text("2_b\nnone\n")
    with pytest.raises(BenchError, match=r"cannot list .*data/none/origin"):
        read(root)
    (root / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BenchError, match=r"train\.txt is not a text file"):
        read(root)
    (root / "train.txt").unlink()
    with pytest.raises(BenchError, match=r"cannot read .*train\.txt"):
        read(root)


def test_frames_and_masks_belong_together(root: Path) -> None:
    mask_path(root).unlink()
    with pytest.raises(BenchError, match=r"video '2_b' .*no mask '00000001'"):
        read(root)
    (root / "data" / "2_b" / "origin" / "00000001.jpg").unlink()
    (root / "data" / "2_b" / "origin" / "00000003.jpg").unlink()
    with pytest.raises(BenchError, match=r"video '2_b' .*no frame '00000003'"):
        read(root)


def test_a_folder_without_frames(root: Path) -> None:
    (root / "data" / "c" / "origin").mkdir(parents=True)
    (root / "train.txt").write_text("c\n")
    with pytest.raises(BenchError, match="data/c/origin has no frames"):
        read(root)


def test_a_folder_that_is_a_link_out(root: Path) -> None:
    write_video(root / "elsewhere", "x")
    (root / "data" / "x").symlink_to(root / "elsewhere" / "data" / "x")
    (root / "train.txt").write_text("x\n")
    with pytest.raises(BenchError, match=r"data/x/origin leaves"):
        read(root)


def _value(path: Path) -> None:
    Image.fromarray(np.full((HEIGHT, WIDTH), 125, np.uint8)).save(path)


def _other_size(path: Path) -> None:
    Image.new("L", (HEIGHT, WIDTH)).save(path)


def _rgb(path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


def _sixteen_bits(path: Path) -> None:
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint16)).save(path)


def _one_bit(path: Path) -> None:
    Image.new("1", (WIDTH, HEIGHT)).save(path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "is missing"),
        (_value, "has the value 125; valid: 0, 253, 254, 255 and classes from 1 to 124"),
        (_other_size, "14 x 10, but its video is 10 x 14"),
        (_rgb, "PNG of RGB with 8 bits; valid: one channel"),
        (_sixteen_bits, "PNG of grey with 16 bits"),
        (_one_bit, "PNG of grey with 1 bits"),
        (_cut, "cannot be read"),
    ],
)
def test_a_bad_mask_is_named(root: Path, damage: object, words: str) -> None:
    index = read(root)
    damage(mask_path(root))  # type: ignore[operator]
    index.load_objects(index.videos[0], [0, 2, 3])
    with pytest.raises(BenchError, match=rf"2_b/mask/00000001\.png .*{words}"):
        index.load_objects(index.videos[0], [0, 1])


def test_a_missing_first_frame_is_named(root: Path) -> None:
    index = read(root)
    (root / "data" / "2_b" / "origin" / "00000000.jpg").unlink()
    with pytest.raises(BenchError, match=r"00000000\.jpg of video '2_b' is missing"):
        index.load_objects(index.videos[0], [2])
