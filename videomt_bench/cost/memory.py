"""Peak memory of a piece of work."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

MIB = 2**20


def peak_memory_mib(work: Callable[[], object], device: str) -> tuple[float, str]:
    """Run ``work``; its peak memory in MiB, and in words what was measured.

    On a GPU it is what PyTorch's allocator held for tensors. On the CPU it is the resident set of
    the whole process, libraries included, over ``work`` where the system can restart that
    watermark (Linux), otherwise since the process began.
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) / MIB, "peak of tensors allocated on the GPU"
    restarted = _restart_watermark()
    work()
    since = "while running" if restarted else "since its start"
    return _resident_peak() / MIB, f"peak resident set of the process {since}"


def _restart_watermark() -> bool:
    """Set the kernel's peak of the resident set to what is resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident_peak() -> float:
    """Bytes."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
