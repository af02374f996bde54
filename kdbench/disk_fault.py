"""Which exceptions mean that the disk is full or cannot be written, and the sentence that says so."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
LITTLE_BYTES = 1 << 20
OTHER_STORE = "choose another folder for the store with paths.store or the environment variable KDBENCH_STORE"


def explain(error: Exception, root: Path, doing: str) -> str | None:
    """One sentence for a fault of the disk that struck the store at `root` while `doing` something, else None."""
    number = error.errno if isinstance(error, OSError) else None
    filename = error.filename if isinstance(error, OSError) and isinstance(error.filename, str) else None
    reason = os.strerror(number) if number is not None else " ".join(str(error).split())
    elsewhere = filename is not None and not Path(filename).absolute().is_relative_to(root)
    where = filename if elsewhere else f"the store {root}"
    if is_full(error, root):
        way_out = "free some space there" if elsewhere else f"free some with `kdbench-store prune`, or {OTHER_STORE}"
        return f"no space is left for {where} ({reason}) while {doing}: {way_out}"
    if number in UNWRITABLE:
        way_out = "change its permissions" if elsewhere else f"change its permissions, or {OTHER_STORE}"
        return f"{where} cannot be used ({reason}) while {doing}: {way_out}"
    return None


def is_full(error: Exception, root: Path) -> bool:
    """Whether an exception means a full disk, which each library says in its own way.

    NumPy raises an OSError without a number, PyTorch a RuntimeError that names no reason: these two count where hardly
    anything is free. safetensors raises a class of its own, whose text holds the system's words.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    if any(os.strerror(number) in str(error) for number in FULL):
        return True
    return isinstance(error, OSError | RuntimeError) and _free_bytes(root) < LITTLE_BYTES


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
