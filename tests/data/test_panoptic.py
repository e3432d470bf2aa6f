from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from videomt_bench.data.augment import Augmentation
from videomt_bench.data.clips import TrainClips, load_video_frames
from videomt_bench.data.panoptic import PanopticIndex, read_vipseg
from videomt_bench.errors import BenchError

HEIGHT, WIDTH, LENGTH = 18, 24, 4
CATEGORIES = {7: True, 0: False, 4: True, 2: False}
"""Class id -> thing; a model's order is 4, 7, 0, 2."""
LABEL = {4: 0, 7: 1, 0: 2, 2: 3}
SEGMENTS = {3: 4, 900: 7, 70_000: 0, 16_000_000: 7, 5: 2}
"""Segment id -> class; 5 is a crowd."""
UNLISTED = 1234
OFFICIAL = Augmentation(tuple(range(480, 801, 32)), max_size=1333, flip=0.5)


def ids_of(frame: int) -> np.ndarray:
    """Segment 900 is gone after frame 1; 16,000,000 comes in frame 2; top rows are nothing."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    ids[4:] = 70_000
    ids[6:12, 2 + frame : 9 + frame] = 3
    if frame < 2:
        ids[10:16, 12:20] = 900
    else:
        ids[5:9, 15 : 20 + frame] = 16_000_000
    ids[15:17, 3:10] = 5
    ids[1:3, 1:4] = UNLISTED
    return ids


def write_png(path: Path, ids: np.ndarray) -> None:
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


def segment(id_: int) -> dict[str, Any]:
    return dict(id=id_, category_id=SEGMENTS[id_], iscrowd=int(id_ == 5), area=1, bbox=[0, 0, 1, 1])


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """Two videos of the same content, as JSON; images and PNGs are on disk."""
    for name in ("a", "12_b"):
        for t in range(LENGTH):
            ids = ids_of(t)
            write_png(tmp_path / "panomasksRGB" / name / f"{t:08d}.png", ids)
            path = tmp_path / "images" / name / f"{t:08d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((ids % 251).astype(np.uint8)).convert("RGB").save(path)
    images = [
        dict(id=f"{t:08d}", width=WIDTH, height=HEIGHT, file_name=f"{t:08d}.png")
        for t in range(LENGTH)
    ]
    frames = [
        dict(
            image_id=f"{t:08d}",
            file_name=f"{t:08d}.png",
            segments_info=[segment(i) for i in np.unique(ids_of(t)).tolist() if i in SEGMENTS],
        )
        for t in range(LENGTH)
    ]
    document = {
        "videos": [dict(video_id=name, images=images) for name in ("a", "12_b")],
        "annotations": [dict(video_id=name, annotations=frames) for name in ("12_b", "a")],
        "categories": [
            dict(id=i, name=f"class {i}", isthing=int(thing), color=[i, i, i])
            for i, thing in CATEGORIES.items()
        ],
    }
    return json.loads(json.dumps(document))  # no part is shared


def read(document: Any, root: Path) -> PanopticIndex:
    path = root / "panoptic.json"
    path.write_text(json.dumps(document))
    return read_vipseg(path, root / "images", root / "panomasksRGB")


def test_reads_videos_and_categories(document: Any, tmp_path: Path) -> None:
    index = read(document, tmp_path)
    assert [(c.id, c.is_thing) for c in index.categories] == [
        (4, True), (7, True), (0, False), (2, False),
    ]  # fmt: skip
    assert [(v.name, v.height, v.width) for v in index.videos] == [("a", 18, 24), ("12_b", 18, 24)]
    video = index.videos[1]
    assert video.file_names[3] == "12_b/00000003.jpg"
    assert [ids.tolist() for ids in video.segments] == [[3, 900, 70_000]] * 2 + [
        [3, 70_000, 16_000_000]
    ] * 2
    assert video.labels == {i: LABEL[SEGMENTS[i]] for i in (3, 900, 70_000, 16_000_000)}
    assert index.annotated
    assert index.has_objects(video)
    for t in range(LENGTH):
        assert np.array_equal(index.load_ids(video, t), ids_of(t))


def test_targets_of_a_whole_video(document: Any, tmp_path: Path) -> None:
    index = read(document, tmp_path)
    clip = TrainClips(index, LENGTH, Augmentation(), 0)[0]
    ids = np.stack([ids_of(t) for t in range(LENGTH)])
    expected = [3, 900, 70_000, 16_000_000]  # neither the crowd nor what the file does not list
    assert clip.labels.tolist() == [LABEL[SEGMENTS[i]] for i in expected]
    assert clip.labels.dtype == torch.long
    assert np.array_equal(clip.masks.numpy(), np.stack([ids == i for i in expected]))
    assert clip.present.tolist() == [
        [True] * 4, [True, True, False, False], [True] * 4, [False, False, True, True],
    ]  # fmt: skip
    assert clip.frames.shape == (LENGTH, 3, HEIGHT, WIDTH)


def test_objects_know_their_frames(document: Any, tmp_path: Path) -> None:
    index = read(document, tmp_path)
    objects = index.load_objects(index.videos[0], [1, 3, 1])
    assert objects.annotated.tolist() == [
        [True] * 3, [True, False, True], [True] * 3, [False, True, False],
    ]  # fmt: skip
    assert objects.regions.shape == (1, 3, HEIGHT, WIDTH)


def test_present_everywhere_as_the_official_code(document: Any, tmp_path: Path) -> None:
    index = read(document, tmp_path)
    plain = TrainClips(index, LENGTH, Augmentation(), 0)[0]
    clip = TrainClips(index, LENGTH, Augmentation(), 0, present_everywhere=True)[0]
    assert clip.present.all()
    assert clip.present.shape == plain.present.shape
    assert torch.equal(clip.masks, plain.masks)
    # an object must still occur in the clip
    single = TrainClips(index, 1, Augmentation(), 0, present_everywhere=True)
    assert {len(single[i].labels) for i in range(20)} == {3}


def test_official_augmentation(document: Any, tmp_path: Path) -> None:
    clips = TrainClips(read(document, tmp_path), 3, OFFICIAL, 0)
    sizes = set()
    for i in range(4):
        clip = clips[i]
        height, width = clip.masks.shape[-2:]
        assert clip.frames.shape[-2:] == (height, width)
        assert height in range(480, 801, 32)
        assert abs(width - height * 4 / 3) < 1
        assert clip.masks.sum(0).max() == 1  # segments never overlap
        sizes.add(height)
    assert len(sizes) > 1


@pytest.mark.parametrize("objects", [5, 200, 400])
def test_maps_are_resized_exactly_like_masks(objects: int) -> None:
    """Also with more objects than a byte counts."""
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.integers(0, objects + 1, (1, 2, 30, 44)).astype(np.int32))
    maps = maps.to(torch.uint8) if objects < 256 else maps
    masks = torch.cat([maps == k for k in range(1, objects + 1)])
    frames = torch.zeros(2, 3, 30, 44, dtype=torch.uint8)
    augmentation = Augmentation(
        (23, 41, 70), flip=0.5, crop=True, crop_short_sides=(25, 40), crop_range=(15, 35)
    )
    for seed in range(8):
        _, one = augmentation(frames, maps, np.random.default_rng(seed))
        _, two = augmentation(frames, masks, np.random.default_rng(seed))
        assert one.dtype == maps.dtype
        assert torch.equal(torch.cat([one == k for k in range(1, objects + 1)]), two)


def test_more_segments_than_a_byte_counts(document: Any, tmp_path: Path) -> None:
    ids = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) + 1
    for t in range(LENGTH):
        write_png(tmp_path / "panomasksRGB" / "a" / f"{t:08d}.png", ids)
        info = [dict(id=i, category_id=4, iscrowd=0) for i in ids.ravel().tolist()]
        document["annotations"][1]["annotations"][t]["segments_info"] = info
    index = read(document, tmp_path)
    objects = index.load_objects(index.videos[0], [0, 2])
    assert np.array_equal(objects.regions, np.stack([ids, ids])[None])
    assert len(objects.labels) == HEIGHT * WIDTH


def test_frames_of_one_clip_share_the_draw(document: Any, tmp_path: Path) -> None:
    index = read(document, tmp_path)
    stream = TrainClips(index, 2, Augmentation((30, 36), flip=0.5), seed=1)
    again = TrainClips(index, 2, Augmentation((30, 36), flip=0.5), seed=1)
    for i in (5, 1):
        one, two = stream[i], again[i]
        assert torch.equal(one.frames, two.frames)
        assert torch.equal(one.masks, two.masks)
        stuff = one.masks[one.labels == LABEL[0]][0]  # the unmoving ground: cut out by the others
        assert torch.equal(stuff[0].any(1), stuff[1].any(1))


def test_inference_reads_the_frames(document: Any, tmp_path: Path) -> None:
    index = read(document, tmp_path)
    frames = load_video_frames(index.videos[0], index.frames_root, range(LENGTH), (9, 12))
    assert frames.shape == (LENGTH, 3, 9, 12)


def test_a_split_without_annotations(document: Any, tmp_path: Path) -> None:
    del document["annotations"]
    index = read(document, tmp_path)
    assert not index.annotated
    assert not index.has_objects(index.videos[0])
    assert index.load_objects(index.videos[0], [0, 3]).regions.shape == (1, 2, HEIGHT, WIDTH)
    with pytest.raises(BenchError, match=r"panoptic\.json has no annotated videos"):
        TrainClips(index, 2, Augmentation(), 0)


def test_empty_frames_and_numeric_video_ids(document: Any, tmp_path: Path) -> None:
    for frame in document["annotations"][1]["annotations"]:
        frame["segments_info"] = []
    document["videos"][1]["video_id"] = document["annotations"][0]["video_id"] = 12
    (tmp_path / "images" / "12_b").rename(tmp_path / "images" / "12")
    (tmp_path / "panomasksRGB" / "12_b").rename(tmp_path / "panomasksRGB" / "12")
    index = read(document, tmp_path)
    assert [index.has_objects(v) for v in index.videos] == [False, True]
    assert index.load_objects(index.videos[0], [0, 1]).regions.max() == 0
    everything = TrainClips(index, 2, Augmentation(), 0, drop_empty=False)
    assert {len(everything[i].labels) for i in range(2)} >= {0}
    assert len(TrainClips(index, 2, Augmentation(), 0)) == 1


INFO = ("annotations", 1, "annotations", 2, "segments_info")


def _set(*path: Any) -> Any:
    def change(document: Any) -> None:
        *head, last, value = path
        for key in head:
            document = document[key]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("videos", []), "no videos"),
        (_set("videos", 0, "video_id", "../x"), r"a video .*\.\./x"),
        (_set("videos", 0, "video_id", ""), "a video .*folder name"),
        (_set("videos", 0, "video_id", "12_b"), "two videos have the id '12_b'"),
        (_set("videos", 0, "video_id", "c"), "video 'c' is not annotated"),
        (_set("videos", 0, "images", []), "video 'a' .*0 sizes"),
        (_set("videos", 0, "images", 1, "width", 25), "video 'a' .*2 sizes"),
        (_set("videos", 0, "images", 1, "height", 0), "'a', frame '00000001' .*0 x 24"),
        (_set("videos", 0, "images", 1, "file_name", "../1.jpg"), r"'a' .*\.\./1\.jpg"),
        (_set("videos", 0, "images", 1, "file_name", "0.jpg"), "'a' has frame '0' not annotated"),
        (
            _set("videos", 0, "images", 1, "file_name", "00000000.jpg"),
            "video 'a' has a frame twice",
        ),
        (_set("annotations", 0, "video_id", "a"), "video 'a' is there twice"),
        (_set("annotations", 0, "annotations", 1, "file_name", "00000000.png"), "'00000000' twice"),
        (_set(*INFO, 3, "id", 70_000), "'a', frame '00000002': segment 70000 is there twice"),
        (_set(*INFO, 0, "id", 2**24), "segment 16777216 .*1 to 16777215"),
        (_set(*INFO, 0, "id", 0), "segment 0 has no valid id"),
        (_set(*INFO, 0, "id", "3"), "a segment has 'id'"),
        (_set(*INFO, 0, "category_id", 5), r"segment 3 has category 5; valid: \[0, 2, 4, 7\]"),
        (_set(*INFO, 0, "category_id", 7), "segment 3 has category 7, but another one"),
        (_set(*INFO, 0, "iscrowd", "no"), "segment 3 has 'iscrowd'"),
        (_set("categories", 0, "id", 0), "two categories have the id 0"),
        (_set("categories", 0, "isthing", 2), "category 7 has 'isthing' = '2'"),
        (_set("categories", 0, {"id": 7, "name": "x"}), "category 7 lacks the key 'isthing'"),
    ],
)
def test_errors_name_file_and_place(document: Any, tmp_path: Path, change: Any, words: str) -> None:
    change(document)
    with pytest.raises(BenchError, match=f"panoptic.json.*{words}"):
        read(document, tmp_path)


def test_an_annotated_video_that_is_not_listed(document: Any, tmp_path: Path) -> None:
    del document["videos"][0]
    with pytest.raises(BenchError, match="annotates video 'a', which it does not have"):
        read(document, tmp_path)


def _other_size(path: Path) -> None:
    write_png(path, np.zeros((WIDTH, HEIGHT), dtype=int))


def _grey(path: Path) -> None:
    Image.new("L", (WIDTH, HEIGHT)).save(path)


def _alpha(path: Path) -> None:
    Image.new("RGBA", (WIDTH, HEIGHT)).save(path)


def _palette(path: Path) -> None:
    Image.new("P", (WIDTH, HEIGHT)).save(path)


def _jpeg(path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, format="JPEG")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60] ^= 4
    path.write_bytes(bytes(data))


def _link(path: Path) -> None:
    outside = path.parents[2] / "outside.png"
    path.rename(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "is missing"),
        (_other_size, "24 x 18, but its video is 18 x 24"),
        (_grey, "PNG of grey with 8 bits; valid: RGB"),
        (_alpha, "PNG of RGBA with 8 bits"),
        (_palette, "PNG of palette"),
        (_jpeg, "is not a PNG"),
        (_cut, "cannot be read"),
        (_flipped_bit, "cannot be read"),
        (_link, "leaves"),
    ],
)
def test_a_bad_png_is_named(document: Any, tmp_path: Path, damage: Any, words: str) -> None:
    index = read(document, tmp_path)
    damage(tmp_path / "panomasksRGB" / "a" / "00000002.png")
    index.load_objects(index.videos[0], [0, 1, 3])
    with pytest.raises(BenchError, match=rf"panomasksRGB/a/00000002\.png.*{words}"):
        index.load_objects(index.videos[0], [1, 2])
