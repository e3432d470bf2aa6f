"""One process at a time works in a stage folder, on whichever machine it runs.

The owner touches its file every few seconds. One that is known to be gone, or that has not been
seen alive for ``STALE`` seconds, is succeeded. Clocks of machines are never compared.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError

OWNER = "owner.json"
BEAT = 10.0
"""Seconds between two signs of life."""
STALE = 180.0
"""Seconds without one after which an owner is taken for dead."""
POLL = 0.5


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Own a stage folder for the time of the block; wait while another process owns it.

    Raises:
        BenchError: the folder cannot be written.
    """
    owner = {**me(), "token": uuid.uuid4().hex}
    file = folder / OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(file, owner)
    except OSError as error:
        raise BenchError(f"cannot write {file}: {error.strerror or error}") from None
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(file, ended), daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        if _read(file) == owner:
            file.unlink(missing_ok=True)


def me() -> dict[str, Any]:
    """This process, and the SLURM job that it is part of."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{index}" if array else os.environ.get("SLURM_JOB_ID")
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return {"host": _host(), "pid": os.getpid(), "job": job, "restarts": restarts}


def owner_of(folder: Path) -> dict[str, Any] | None:
    """The process that owns a folder, as ``me`` describes it, or None."""
    return _read(folder / OWNER)


def is_gone(owner: dict[str, Any]) -> bool:
    """Whether an owner is surely dead: its process, or the attempt of its SLURM job."""
    mine = me()
    if owner.get("job") is not None and owner["job"] == mine["job"]:
        return bool(owner["restarts"] < mine["restarts"])
    return owner.get("host") == mine["host"] and not Path(f"/proc/{owner['pid']}").exists()


def is_alive(folder: Path) -> bool:
    """Whether a process works in a folder; one on another machine is given ten times ``STALE``."""
    owner = _read(folder / OWNER)
    if owner is None or is_gone(owner):
        return False
    try:
        age = time.time() - (folder / OWNER).stat().st_mtime
    except OSError:
        return False
    return age < 10 * STALE


def _acquire(file: Path, owner: dict[str, Any]) -> None:
    seen, since = None, time.monotonic()
    while not _create(file, owner):
        state = _state(file)
        if state != seen:
            seen, since = state, time.monotonic()
        other = _read(file)
        if state and (time.monotonic() - since > STALE or (other and is_gone(other))):
            _remove(file, state)
        else:
            time.sleep(POLL)


def _create(file: Path, owner: dict[str, Any]) -> bool:
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as target:
        json.dump(owner, target)
    return True


def _remove(file: Path, state: tuple[int, int]) -> None:
    """Remove a dead owner's file, of several waiting processes only one."""
    grave = file.with_name(f".{OWNER}.{uuid.uuid4().hex}")
    try:
        os.rename(file, grave)
        if _state(grave) != state and not file.exists():
            os.rename(grave, file)  # a successor was quicker, and this is its file
        grave.unlink(missing_ok=True)
    except FileNotFoundError:
        pass


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(file: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def _beat(file: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        try:
            os.utime(file)
        except OSError:
            continue


def _host() -> str:
    """This machine, and this container of it: whose process numbers mean something here."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}".strip()
