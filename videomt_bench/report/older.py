"""Settings that came after the first records of schema 1, which lack them.

A setting at its default is not part of a run's id, and its default never changes; so what an older
record lacks has the value below. The settings themselves live in rooms that need torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

_LOSSES = {
    "identity_weight": 2.0,
    "identity_cosine_weight": 2.0,
    "prototype_weight": 2.0,
    "prototype_cosine_weight": 2.0,
    "reference_weight": 2.0,
    "reference_cosine_weight": 2.0,
    "pseudo_identity": False,
    "last_intermediate": True,
    "tracklets": False,
    "first_reference": False,
    "refined_weight": 0.0,
    "class_memory": 20,
    "absent_as_no_object": False,
}
_OPTIM = {"milestones": [], "backbone_factor": 1.0, "decay_all": True, "slow_final_norm": False}
_TRAIN = {
    "frozen": [],
    "guided": 0.5,
    "chunk": None,
    "ema": None,
    "exact_sharing": False,
    "tracks": None,
    "losses": _LOSSES,
    "optim": _OPTIM,
}
_STAGE: dict[str, Any] = {
    "span": None,
    "include_last": True,
    "ordered": True,
    "reverse": 0.0,
    "present_everywhere": False,
    "drop_empty": True,
    "mixture_ratio": None,
    "augmentation": {"final_crop": None},
    "train": _TRAIN,
}
_TEST = {
    "class_threshold": 0.8,
    "overlap_threshold": 0.8,
    "mask_threshold": 0.5,
    "look_ahead": 0,
    "compile": None,
}
ADDED: dict[str, Any] = {
    "dataset": {"layout": "generated", "mixture": [], "trained_on": None},
    "encoder": {"partial": False, "positions": "timm"},
    "recipe": {
        "decoder": None,
        "selection": None,
        "offline_selection": None,
        "segmenter_weights": {"positions": None},
        "segmenter": _STAGE,
        "video": _STAGE,
        "refine": _STAGE,
        "test": _TEST,
    },
    "weights": {"positions": None},
}
"""Nested as in a specification; a table that a record does not have at all stays out."""
OPTIONAL = ("refine", "segmenter_weights", "weights")
"""Tables that are None where a record does not have them."""


def completed(spec: Mapping[str, Any], added: Mapping[str, Any] = ADDED) -> dict[str, Any]:
    """A specification with the settings that it is too old to have."""
    result = dict(spec)
    for key, value in added.items():
        if not isinstance(value, Mapping):
            result.setdefault(key, deepcopy(value))
        elif isinstance(result.get(key), Mapping):
            result[key] = completed(result[key], value)
        elif key in OPTIONAL:
            result.setdefault(key, None)
    return result
