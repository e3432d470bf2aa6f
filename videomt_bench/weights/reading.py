"""Files of weights -> tensors by name. Files are data that nobody vouches for: nothing in them is
executed, and what is no tensor is left out or refused."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.encoder_weights import PICKLES
from videomt_bench.weights.rules import State

TORCH_FILES = (".pth", ".pt", ".bin", ".ckpt")
SAFETENSORS = ".safetensors"
INDEX = ".safetensors.index.json"
WEIGHT_FILES = (*TORCH_FILES, SAFETENSORS, INDEX)
NESTED = ("ema", "model", "state_dict", "model_state_dict", "teacher")
"""Keys under which checkpoints keep their weights, beside optimizers and the like."""
WRAPPERS = ("module.", "model.", "_orig_mod.")
"""Beginnings that data parallelism, trainers and compilers put before every name."""
EMA_COUNTER = "n_averaged"


def read_weights(path: Path | str) -> State:
    """The tensors of a file by name, on the CPU, without what a trainer wraps around them.

    Args:
        path: ``.safetensors``, its index of several files, a folder with either of them as
            transformers has it, or a PyTorch file.

    Raises:
        BenchError: a pickle, unreadable, of another kind, without tensors, or with something else
            among them.
    """
    file = weight_file(Path(path))
    if file.name.endswith(INDEX):
        return _read_index(file)
    if file.suffix == SAFETENSORS:
        return _read_safetensors(file)
    return _unwrapped(_read_torch(file), file)


def read_words(path: Path | str) -> dict[str, str]:
    """What a file says in words beside its tensors.

    Raises:
        BenchError: see ``read_weights``.
    """
    file = weight_file(Path(path))
    if file.name.endswith(INDEX):
        return {}
    if file.suffix == SAFETENSORS:
        try:
            with safe_open(file, "pt") as opened:
                return dict(opened.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise BenchError(f"cannot read weights from {str(file)!r}: {_reason(error)}") from None
    found = _read_torch(file)
    if not isinstance(found, Mapping):
        return {}
    return {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, str)}


def weight_file(path: Path) -> Path:
    """The file that holds weights: ``path``, or what is in it if it is a folder.

    Raises:
        BenchError: there is none, or it is of a kind that is not read.
    """
    if path.is_dir():
        names = ("model.safetensors", f"model{INDEX}", "pytorch_model.bin")
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise BenchError(f"the folder {path} has no weights; valid: {', '.join(names)}")
        return found[0]
    if not path.is_file():
        raise BenchError(f"there is no file of weights {str(path)!r}")
    if path.suffix.lower() in PICKLES:
        raise BenchError(
            f"weights {str(path)!r} are a pickle, which can run code when it is read; where "
            "nothing can be lost, such as in a container without network, read it with "
            "pickle.load, save its arrays with safetensors.numpy.save_file, and give that file"
        )
    if not path.name.endswith(WEIGHT_FILES):
        kinds = ", ".join(WEIGHT_FILES)
        raise BenchError(f"weights {str(path)!r} are of no known kind; valid: {kinds}")
    return path


def _read_torch(file: Path) -> Any:
    # only the present format can be mapped, and is not read where shapes are all that matters
    mapped = zipfile.is_zipfile(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise BenchError(
            f"weights {str(file)!r} hold more than tensors and plain values ({_refused(error)}), "
            "so they are not read, and nothing in them was run"
        ) from None
    except Exception as error:  # a damaged file fails in many ways
        raise BenchError(f"cannot read weights from {str(file)!r}: {_reason(error)}") from None


def _read_safetensors(file: Path) -> State:
    try:
        return _stripped(load_file(file), file)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise BenchError(f"cannot read weights from {str(file)!r}: {_reason(error)}") from None


def _read_index(file: Path) -> State:
    """The tensors of several safetensors files beside an index of them."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        parts = sorted({str(part) for part in names.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"cannot read the index {str(file)!r}: {_reason(error)}") from None
    state: State = {}
    for part in parts:
        if Path(part).name != part or not part.endswith(SAFETENSORS):
            raise BenchError(
                f"the index {str(file)!r} names {part!r}; valid are .safetensors files beside it"
            )
        state |= _read_safetensors(weight_file(file.parent / part))
    absent = [name for name in names if name not in state]
    if absent:
        raise BenchError(f"the files of {str(file)!r} lack {len(absent)} tensors: {absent[0]}, …")
    return state


def _unwrapped(found: Any, file: Path) -> State:
    while isinstance(found, Mapping):
        inner = next((found[k] for k in NESTED if isinstance(found.get(k), Mapping)), None)
        if inner is None:
            return _stripped(found, file)
        found = inner
    raise BenchError(f"weights {str(file)!r} are a {type(found).__name__}, not tensors by name")


def _stripped(found: Mapping[Any, Any], file: Path) -> State:
    """Only tensors, without the beginnings that all names share with a wrapper."""
    found = {k: v for k, v in found.items() if k != EMA_COUNTER}
    other = [k for k, v in found.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if other:
        kind = type(found[other[0]]).__name__
        raise BenchError(
            f"weights {str(file)!r} have {len(other)} entries that are no tensors, such as "
            f"{str(other[0])!r} of type {kind}; valid is a dictionary of tensors by name"
        )
    if not found:
        raise BenchError(f"weights {str(file)!r} hold no tensors by name")
    for prefix in WRAPPERS * 2:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _refused(error: Exception) -> str:
    """What torch refuses to read, by its name."""
    found = re.search(r"GLOBAL (\S+)|global: (\S+)", str(error))
    return next((x for x in found.groups() if x), "") if found else _reason(error)


def _reason(error: Exception) -> str:
    """The first sentence of a library's message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
