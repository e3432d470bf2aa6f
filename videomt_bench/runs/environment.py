"""Where and from what a result was made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import videomt_bench

SOURCE_NOTE = "videomt_bench_source.json"
"""Beside the package in a snapshot: what ``source`` said where it was made."""
PACKAGES = ("torch", "torchvision", "timm", "mmengine-lite", "numpy", "scipy", "pycocotools")


def environment() -> dict[str, Any]:
    """Python, packages, machine and accelerator, as far as they can change a number."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(terse=True),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gpu": gpu,
    }


@cache
def source() -> dict[str, Any]:
    """Version, and commit and cleanliness of the checkout that the package runs from.

    A snapshot of the code says those of the checkout that it was made from.
    """
    folder = Path(videomt_bench.__file__).parent
    noted = folder.parent / SOURCE_NOTE
    if noted.is_file():
        return json.loads(noted.read_text(encoding="utf-8"))
    commit = _git(folder, "rev-parse", "HEAD")
    inside = _git(folder, "ls-files", "--error-unmatch", "__init__.py") is not None
    dirty = _git(folder, "status", "--porcelain", "--untracked-files=no") if inside else None
    return {
        "version": videomt_bench.__version__,
        "commit": commit if inside else None,
        "dirty": bool(dirty) if inside else None,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
