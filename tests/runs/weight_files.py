"""Files by the names of VidEoMT's authors around a model of ours, and calls of commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from conftest import as_arguments
from torch import Tensor
from typer.testing import CliRunner

from videomt_bench.cli import app
from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant

QUERIES = 200
TEST = {"recipe.test.short_side": 32, "recipe.test.precision": "fp32", "device": "cpu"}
NAMES = (
    ("segmenter.encoder.vit.", "backbone.encoder.backbone."),
    ("segmenter.", "backbone."),
    ("memory.learned.", "backbone.q."),
    ("memory.fuse.", "backbone.query_updater."),
)


def videomt(encoder: str, classes: int, seed: int = 0) -> VideoSegmenter:
    """With random weights, on a position grid for 640 pixels."""
    torch.manual_seed(seed)
    sizes = ModelSpec(EncoderSpec(encoder, image_size=640), classes, QUERIES)
    return load_variant("step6_videomt").build(sizes).eval()


def official(model: VideoSegmenter) -> dict[str, Tensor]:
    """The state of a VidEoMT by the names of its authors' files, with what only those have."""
    state = {}
    for name, value in model.state_dict().items():
        ours, theirs = next(pair for pair in NAMES if name.startswith(pair[0]))
        state[theirs + name.removeprefix(ours)] = value
    classes = len(state["backbone.class_head.weight"])
    return state | {
        "backbone.attn_mask_probs": torch.zeros(3),
        "criterion.empty_weight": torch.ones(classes),
    }


def save_official(model: VideoSegmenter, file: Path, segmenter: bool = False) -> Path:
    """A model as its authors publish it, or its segmenter alone."""
    state = official(model)
    if segmenter:
        state = {k: v for k, v in state.items() if "query_updater" not in k}
    torch.save({"model": state, "iteration": 7}, file)
    return file


def call(*arguments: object, settings: Mapping[str, Any] = TEST) -> dict[str, Any]:
    """The record that a command prints."""
    given = [*map(str, arguments), "--json", *as_arguments(dict(settings))]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return json.loads(done.stdout.splitlines()[-1])
