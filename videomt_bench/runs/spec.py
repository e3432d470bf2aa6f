"""The specification of a run: variant × encoder × data set × recipe × seed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from videomt_bench.data.augment import Augmentation
from videomt_bench.data.generate import GeneratorSettings
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import (
    DecoderSizes,
    EncoderSpec,
    ModelSpec,
    TrackSelection,
    Variant,
    load_variant,
)
from videomt_bench.models.refiner import COUNTED_FRAMES
from videomt_bench.runs.config import build, digest, to_text
from videomt_bench.runs.record import stage_names
from videomt_bench.runs.weights import WeightsFile
from videomt_bench.training.engine import NOT_IN_ID, TrainSettings


@dataclass(frozen=True)
class MixedData:
    """Data that training mixes into that of a data set, ``ratio`` clips for each of its own.

    COCO images (a layout ``coco2*``) become pseudo-videos.
    """

    name: str
    layout: str
    root: str = field(metadata=NOT_IN_ID)
    split: str = "train"
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.ratio < float("inf"):
            raise BenchError(f"ratio of {self.name!r} is {self.ratio}; it must be above 0")


@dataclass(frozen=True)
class DatasetSpec:
    """A data set in one of the layouts of ``videomt_bench.data.layouts``, which decides the task.

    ``name`` stands for its content in run ids; ``root`` is where it lies on this machine. With
    ``generate`` (one entry per split) the data is made when it is not there, and the settings stand
    for the content as well. ``mixture`` is what training reads beside the training split. With
    ``trained_on`` the data set is for testing alone: both training stages are those of that one,
    done once for both.
    """

    name: str
    num_classes: int
    root: str = field(metadata=NOT_IN_ID)
    train_split: str = "train"
    test_split: str = "valid"
    generate: tuple[GeneratorSettings, ...] = ()
    layout: str = "generated"
    mixture: tuple[MixedData, ...] = ()
    trained_on: DatasetSpec | None = None

    @property
    def training(self) -> DatasetSpec:
        """The data set whose training split is learned from."""
        return self.trained_on or self

    @property
    def tested(self) -> DatasetSpec:
        """The same without what it is learned from."""
        return replace(self, train_split="train", mixture=(), trained_on=None)

    def splits(self) -> list[tuple[str, str, str]]:
        """Layout, folder and split of everything that training and evaluation read."""
        own = self.training
        read = [(own.layout, own.root, own.train_split)]
        read += [(mixed.layout, mixed.root, mixed.split) for mixed in own.mixture]
        return [*read, (self.layout, self.root, self.test_split)]

    def below(self, folder: str) -> DatasetSpec:
        """The same data, in folders of the same names below another one."""
        return replace(
            self,
            root=_below(folder, self.root),
            mixture=tuple(replace(m, root=_below(folder, m.root)) for m in self.mixture),
            trained_on=self.trained_on and self.trained_on.below(folder),
        )


def _below(folder: str, root: str) -> str:
    return str(Path(folder) / Path(root).name)


@dataclass(frozen=True)
class StageSettings:
    """One training stage: clips of ``frames`` frames, augmented, and how to learn from them.

    A clip is a window of consecutive frames, or, with ``span``, those near a reference frame.
    ``mixture_ratio`` is how many clips of each data set that is mixed in are drawn for each of the
    data set's own; None: as the data set says. The rest is as in
    ``videomt_bench.data.clips.TrainClips``.
    """

    frames: int
    train: TrainSettings
    augmentation: Augmentation = field(default_factory=Augmentation)
    label_quirk: bool = False
    span: int | None = None
    include_last: bool = True
    ordered: bool = True
    reverse: float = 0.0
    present_everywhere: bool = False
    drop_empty: bool = True
    mixture_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or (self.span or 0) < 0:
            raise BenchError(
                f"frames is {self.frames} and span {self.span}; valid: at least 1, at least 0"
            )
        if not 0 <= self.reverse <= 1:
            raise BenchError(f"reverse is {self.reverse}; it must be a probability from 0 to 1")
        if self.mixture_ratio is not None and not 0 < self.mixture_ratio < float("inf"):
            raise BenchError(f"mixture_ratio is {self.mixture_ratio}; it must be above 0, or None")


@dataclass(frozen=True)
class Recipe:
    """The training stages and the test protocol."""

    name: str
    num_queries: int
    segmenter: StageSettings
    video: StageSettings
    test: InferenceSettings = field(default_factory=InferenceSettings)
    decoder: DecoderSizes | None = None
    """Sizes of decoders and trackers; None: by the encoder."""
    selection: TrackSelection | None = None
    """When a tracker of a varying set of tracks takes a query for an object; None: the defaults."""
    offline_selection: TrackSelection | None = None
    """The same for the refiner of an offline variant, in its training and in tests; None: as for
    the online model."""
    refine: StageSettings | None = None
    """The stage in which the refiner of an offline variant learns; other variants have none."""
    segmenter_weights: WeightsFile | None = None
    """A published segmenter in the place of the segmenter stage."""

    @property
    def online(self) -> Recipe:
        """The same without what is a refiner's alone."""
        return replace(self, refine=None, offline_selection=None)

    def known(self) -> Recipe:
        """The same with the hash of its file of weights, and its authors' rule for positions.

        Raises:
            BenchError: the file cannot be read, or is of no known family.
        """
        if self.segmenter_weights is None:
            return self
        return replace(self, segmenter_weights=self.segmenter_weights.placed())


@dataclass(frozen=True)
class CostProtocol:
    """How cost is measured; it changes no result of training, so it is not part of the id.

    ``input`` is the size at the network, ``source`` that of the frames which the end-to-end clock
    decodes; both height and width. No ``frames``: operations are counted, nothing is timed. Of a
    refiner the share of a frame in a video of ``video_frames`` frames is counted.
    """

    input: tuple[int, int] = (448, 800)
    source: tuple[int, int] = (720, 1280)
    device: str = "cpu"
    precision: str = "fp32"
    compile: str | None = None
    frames: int = 20
    warmup: int = 5
    video_frames: int = COUNTED_FRAMES

    def __post_init__(self) -> None:
        if self.video_frames < 1:
            raise BenchError(f"video_frames is {self.video_frames}; it must be at least 1")


@dataclass(frozen=True)
class RunSpec:
    """Everything a run needs."""

    variant: str
    encoder: EncoderSpec
    dataset: DatasetSpec
    recipe: Recipe
    seed: int
    cost: CostProtocol = field(default_factory=CostProtocol, metadata=NOT_IN_ID)
    device: str = field(default="cpu", metadata=NOT_IN_ID)
    threads: int = field(default=0, metadata=NOT_IN_ID)
    """CPU threads of a job; 0 leaves torch's choice."""
    weights: WeightsFile | None = None
    """A published model in the place of training: only tested."""

    @cached_property
    def run_id(self) -> str:
        """Variant and seed in words, the rest as a hash of the fields that change the result.

        Of published weights nothing does that is about training; a hash of the file has the seed's
        place.
        """
        if self.weights is not None:
            tested = digest(self.model(), self.dataset.tested, self.recipe.test, self.weights)
            return f"{self.variant}-w{self.weights.sha256[:8]}-{tested}"
        return f"{self.variant}-s{self.seed}-{digest(self)}"

    @cached_property
    def trained(self) -> RunSpec:
        """The run whose video stage this one is evaluated with: mostly itself.

        A data set may have the training of another, and to look ahead is a matter of testing.
        """
        other, test, spec = self.dataset.trained_on, self.recipe.test, self
        if test.look_ahead != 0:
            spec = replace(spec, recipe=replace(self.recipe, test=replace(test, look_ahead=0)))
        return spec if other is None else replace(spec, dataset=other)

    @cached_property
    def online(self) -> RunSpec:
        """The run whose video stage this one has: that of the online variant, where a refiner is
        added to it, otherwise ``trained``.

        Raises:
            BenchError: there is no such variant, or it has no refiner and its recipe has one.
        """
        spec = self.trained
        if spec.recipe.refine is None:
            return spec
        name = load_variant(spec.variant).online
        if not name:
            raise BenchError(
                f"variant {spec.variant!r} has no refiner; its recipe {spec.recipe.name!r} must "
                "have refine=None"
            )
        return replace(spec, variant=name, recipe=spec.recipe.online)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages that the run has; published weights are only evaluated."""
        return stage_names(self.recipe.refine is not None, self.weights is not None)

    def owner(self, stage: str) -> str:
        """The id under which the files of a stage lie, which may be those of another run."""
        if stage == "segmenter":
            return self.segmenter_stage
        owners = {"video": self.online, "refine": self.trained}
        return owners.get(stage, self).run_id

    @cached_property
    def segmenter_stage(self) -> str:
        """The image-level stage that the run's video training starts from.

        Raises:
            BenchError: there is no such variant.
        """
        return self.segmenter_id(load_variant(self.variant))

    def segmenter_id(self, variant: Variant) -> str:
        """The image-level stage; the same for all variants with one segmenter."""
        slots = variant.slots()
        parts = [slots["segmenter"], self.encoder, self.dataset.training]
        if variant.joint_stage:
            parts.append(slots["tracker"])
        if self.recipe.decoder is not None:
            parts.append(self.recipe.decoder)
        learned = self.recipe.segmenter_weights or self.recipe.segmenter
        stage = [self.recipe.num_queries, learned, self.seed]
        return f"segmenter-s{self.seed}-{digest(*parts, *stage)}"

    def model(self) -> ModelSpec:
        """The sizes of the run's model."""
        recipe, encoder = self.recipe, self.encoder
        file = self.weights or recipe.segmenter_weights
        if file is not None:
            rule = encoder.positions if encoder.positions != "timm" else file.positions
            encoder = replace(encoder, weights=None, positions=rule or "timm")
        offline = recipe.offline_selection if recipe.refine is not None else None
        selection = offline or recipe.selection or TrackSelection()
        sizes = self.dataset.num_classes, recipe.num_queries, recipe.decoder
        return ModelSpec(encoder, *sizes, selection)

    def files(self) -> list[WeightsFile]:
        """The files of weights that the run starts from, beside those of its encoder."""
        return [file for file in (self.weights, self.recipe.segmenter_weights) if file is not None]

    def reads(self) -> list[tuple[str, str, str]]:
        """Layout, folder and split of all data of the run."""
        splits = self.dataset.splits()
        return splits if self.weights is None else splits[-1:]

    def video_training(self, variant: Variant) -> TrainSettings:
        """Settings of the video stage, with the variant's own matching and frozen parts."""
        settings = self.recipe.video.train
        return replace(settings, matching=variant.matching, frozen=variant.frozen)

    def refiner_training(self) -> TrainSettings:
        """Settings of the refine stage: the refiner alone learns, from whole clips.

        Raises:
            BenchError: the recipe has no such stage.
        """
        if self.recipe.refine is None:
            raise BenchError(f"the recipe {self.recipe.name!r} has no refine stage")
        online = ("segmenter", "memory", "tracker")
        return replace(self.recipe.refine.train, matching="whole_clip", frozen=online)

    def to_json(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return json.loads(self._text)

    @cached_property
    def _text(self) -> str:
        return to_text(self)

    @staticmethod
    def from_json(data: Any, where: str = "run") -> RunSpec:
        """Check and build a specification."""
        return build(RunSpec, data, where)


def stage_folder(results: Path, stage_id: str) -> Path:
    """Where a stage keeps its checkpoints, logs and outputs."""
    return results / "work" / stage_id
