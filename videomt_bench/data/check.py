"""Is a folder of a benchmark complete and usable? Asked before hours of training, in seconds.

Annotation files are read whole; of images, only headers and the last bytes, unless asked for more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videomt_bench.data.check_coco import check_coco
from videomt_bench.data.check_findings import Inspection, Problem, Progress
from videomt_bench.data.check_panoptic import check_panoptic
from videomt_bench.data.check_semantic import check_semantic
from videomt_bench.data.check_tracks import check_tracks
from videomt_bench.errors import BenchError, unknown

CHECKS: dict[str, Callable[[Inspection], None]] = {
    **dict.fromkeys(("ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis", "generated"), check_tracks),
    **dict.fromkeys(("coco", "coco2ytvis2019", "coco2ytvis2021", "coco2ovis"), check_coco),
    "vipseg": check_panoptic,
    "vspw": check_semantic,
}
"""Names as in :data:`videomt_bench.data.layouts.LAYOUTS`, and COCO with all its splits."""
SHOWN = 5
"""Problems of one kind that are printed, if not asked for more."""
LONGEST = 1000
"""Characters of a sentence that are kept."""


@dataclass(frozen=True)
class CheckResult:
    """What a dataset has, and everything that is wrong with it."""

    dataset: str
    root: str
    split: str
    videos: int
    """Images for COCO, each a video of one frame."""
    frames: int
    objects: int | None
    """Tracks or segments; annotations for COCO; ``None`` without annotations and for VSPW."""
    categories: int | None
    """Classes that the annotation file lists; all 124 for VSPW, which lists none."""
    sizes: dict[str, int]
    """Videos by frame size, HxW, the most frequent first."""
    annotated: bool
    """Whether there is any ground truth; released validation and test files often have none."""
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def lines(self, per_kind: int = SHOWN) -> list[str]:
        """The problems as sentences, the first few of every kind, and how many more there are."""
        counts = Counter(problem.kind for problem in self.problems)
        lines = []
        for kind, count in counts.items():
            found = [problem.sentence for problem in self.problems if problem.kind == kind]
            lines += found[:per_kind]
            if count > per_kind:
                lines.append(f"… and {count - per_kind} more of this kind ({kind})")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Everything, all problems included."""
        problems = [problem._asdict() for problem in self.problems]
        return {**asdict(self), "ok": self.ok, "problems": problems}


def check_dataset(
    dataset: str,
    root: Path,
    split: str,
    *,
    full: bool = False,
    workers: int = 0,
    on_progress: Progress | None = None,
) -> CheckResult:
    """Look for everything that would stop or distort a training or a test.

    Bad data never raises; it is what the result is about.

    Args:
        dataset: a key of ``CHECKS``.
        root: its folder, in the layout that the benchmark has after unpacking.
        split: as its files name it, such as train, valid, val, train2017 or coco2ovis_train.
        full: decode all images and compare all masks with the JSON; otherwise the first mask of
            every video and no image, unless its file lacks the end marker of its format.
        workers: threads; 0 for a number that suits the cores at hand.
        on_progress: called with (folders of images done, folders in all).

    Raises:
        BenchError: an unknown dataset, no such folder, or a negative number of threads.
    """
    root = Path(root)
    if dataset not in CHECKS:
        raise unknown("dataset", dataset, CHECKS)
    if not root.is_dir():
        raise BenchError(f"no folder {root}")
    if workers < 0:
        raise BenchError(f"{workers} threads; valid: 0 (by the cores) or more")
    check = Inspection(dataset, root, split, full, workers, on_progress)
    CHECKS[dataset](check)
    sizes = {f"{height}x{width}": count for (height, width), count in check.sizes.most_common()}
    return CheckResult(
        dataset, str(root), split, check.videos, check.frames, check.objects, check.categories,
        sizes, check.annotated, tuple(map(_printable, check.problems)),
    )  # fmt: skip


def _printable(problem: Problem) -> Problem:
    """Names in files may hold anything, control characters included."""
    text = problem.sentence
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return problem._replace(sentence=text)
