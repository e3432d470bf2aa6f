"""The VSPW layout: what is accepted, and one sentence for what is not."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.semantic import score_vspw
from videomt_bench.evaluation.semantic_files import Faults, find_videos, read_mask

MASK = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture
def tree(tmp_path):
    """Two videos of three frames."""
    for name in ("a", "b"):
        for folder in (tmp_path / "truth/data" / name / "mask", tmp_path / "predictions" / name):
            folder.mkdir(parents=True)
            for t in range(3):
                Image.fromarray(MASK).save(folder / f"{t}.png")
    (tmp_path / "truth/val.txt").write_text("a\nb\n")
    return tmp_path


def score(tree, **options):
    return score_vspw(tree / "truth", tree / "predictions", **options)


def one_bad(tree, kind, what):
    """Strict: one sentence. Lenient: one thing of ``kind`` is left out."""
    with pytest.raises(BenchError, match=what) as caught:
        score(tree)
    assert "\n" not in str(caught.value)
    result = score(tree, lenient=True)
    assert result.skipped == {"videos": 0, "frames": 0, "pixels": 0, kind: 1}
    assert result.faults == (str(caught.value),) or "lacks" in str(caught.value)
    return result


def test_a_sound_tree(tree):
    calls = []
    result = score(tree, on_progress=lambda *call: calls.append(call))
    assert result.stats.frames.tolist() == [3, 3]
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb\r\n", "\n a \n\nb"])
def test_lists_are_read_as_they_stand(tree, text):
    (tree / "truth/val.txt").write_bytes(text.encode())
    assert score(tree).stats.video_names.tolist() == ["a", "b"]


def test_another_split_and_unlisted_videos(tree):
    (tree / "truth/dev.txt").write_text("b\n")
    (tree / "predictions/a/0.png").write_bytes(b"not looked at")
    assert score(tree, split="dev").stats.video_names.tolist() == ["b"]


def test_frames_are_in_the_order_of_their_names_and_other_files_do_not_count(tree):
    folder = tree / "truth/data/a/mask"
    (folder / "0.png").rename(folder / "10.png")
    (folder / "Thumbs.db").write_text("")
    (folder / "directory.png").mkdir()
    video = find_videos(tree / "truth", tree / "predictions", "val", Faults(lenient=True))[0]
    assert video.frames == ("1.png", "10.png", "2.png")


@pytest.mark.parametrize("name", ["../a", "/etc", "..", "a/mask", "a\\b"])
def test_a_name_cannot_leave_its_folder(tree, name):
    (tree / "truth/val.txt").write_text(f"a\n{name}\n")
    result = one_bad(tree, "videos", r"val\.txt, line 2: .* is not the name of a folder")
    assert result.stats.video_names.tolist() == ["a"]


@pytest.mark.parametrize("split", ["../val", "", ".."])
def test_nor_can_a_split(tree, split):
    with pytest.raises(BenchError, match="split"):
        score(tree, split=split, lenient=True)


@pytest.mark.parametrize("target", ["truth/data/b", "predictions/b", "predictions/b/1.png"])
def test_nor_can_a_link(tree, target):
    path = tree / target
    path.rename(tree / "outside")
    path.symlink_to(tree / "outside")
    one_bad(tree, "videos", f"{path.name}.* leaves ")


def test_a_video_listed_twice(tree):
    (tree / "truth/val.txt").write_text("a\nb\na\n")
    one_bad(tree, "videos", r"val\.txt lists video 'a' twice")


@pytest.mark.parametrize("base", ["truth/data", "predictions"])
def test_a_missing_video(tree, base):
    (tree / base / "b").rename(tree / "elsewhere")
    one_bad(tree, "videos", "cannot list .*b.*: No such file")


def test_a_video_without_frames(tree):
    for path in (tree / "truth/data/b/mask").iterdir():
        path.unlink()
    one_bad(tree, "videos", "mask has no PNG files")


def test_a_missing_frame(tree):
    (tree / "predictions/b/1.png").unlink()
    one_bad(tree, "frames", r"predictions.b lacks 1 of 3 frames; the first is 1\.png")


@pytest.mark.parametrize("base", ["truth/data/b/mask", "predictions/b"])
def test_a_frame_of_another_size(tree, base):
    Image.fromarray(MASK.T.copy()).save(tree / base / "1.png")
    one_bad(tree, "frames", r"1\.png is 4 x 3; its video is 3 x 4")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "1"])
def test_a_frame_of_another_mode(tree, mode):
    size = MASK.shape[::-1]
    Image.new(mode, size).save(tree / "predictions/b/1.png")
    one_bad(tree, "frames", r"1\.png is a PNG of .* bits; valid are one channel of 8 bits")


def test_grey_of_four_bits_is_refused_since_pil_would_scale_it(tree):
    rows = b"".join(b"\0" + bytes([0x12, 0x34]) for _ in range(3))
    header = struct.pack(">IIBBBBB", 4, 3, 4, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    (tree / "predictions/b/1.png").write_bytes(data)
    one_bad(tree, "frames", r"grey with 4 bits")


def test_the_values_of_a_palette_png_are_its_indices(tree):
    for path in (tree / "predictions/b").iterdir():
        image = Image.frombytes("P", MASK.shape[::-1], MASK.tobytes())
        image.putpalette(list(range(255, -1, -1)) * 3)
        image.save(path, bits=8 if path.stem == "0" else 4)
        assert np.array_equal(read_mask(path), MASK)
    assert score(tree).stats.frames.tolist() == [3, 3]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "bit"])
def test_a_damaged_frame(tree, damage):
    path = tree / "predictions/b/1.png"
    data = bytearray(path.read_bytes())
    where = data.index(b"IDAT") + 8
    data[where] ^= damage == "bit"
    path.write_bytes({"empty": b"", "text": b"x" * 99, "cut": data[:-9]}.get(damage, bytes(data)))
    one_bad(tree, "frames", r"1\.png (cannot be read|is not a PNG)")


def test_every_changed_bit_is_noticed(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.repeat(MASK, 5, 0)).save(path)
    data = path.read_bytes()
    for bit in range(8 * 8, 8 * (len(data) - 12), 3):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(BenchError):
            read_mask(path)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_list(tree, text):
    (tree / "truth/val.txt").write_text(text)
    with pytest.raises(BenchError, match="lists no videos"):
        score(tree)


def test_an_unreadable_list(tree):
    (tree / "truth/val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BenchError, match="UTF-8"):
        score(tree)
    (tree / "truth/val.txt").unlink()
    with pytest.raises(BenchError, match=r"cannot read .*val\.txt"):
        score(tree, lenient=True)


def test_nothing_left_to_score(tree):
    for path in (tree / "predictions").glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(BenchError, match=r"no frame of .* could be scored"):
        score(tree, lenient=True)


def test_a_video_of_which_nothing_is_left_is_not_among_the_scored(tree):
    for path in (tree / "predictions/b").iterdir():
        path.unlink()
    result = score(tree, lenient=True)
    assert result.stats.video_names.tolist() == ["a"]
    assert result.skipped == {"videos": 1, "frames": 3, "pixels": 0}
