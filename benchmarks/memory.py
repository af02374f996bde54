"""Peak memory of one call, and measurements in a process of their own (Linux: the high-water mark is the kernel's)."""

from __future__ import annotations

import ctypes
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

Found = TypeVar("Found")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h


def peak_bytes(work: Callable[[], object]) -> int:
    """Of a call, above the level before it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _high_water()
    work()
    return _high_water() - before


def elsewhere(module: str, *arguments: str) -> float:
    """What a module of this folder prints when it is run with these arguments in a fresh process."""
    return float(subprocess.check_output([sys.executable, "-m", f"benchmarks.{module}", *arguments], text=True))


def keeping_memory(work: Callable[..., Found], *arguments: object) -> Found:
    """What a function of a module finds, on one thread of a fresh process that keeps the memory it has freed.

    A call that allocates twice the size of its result would otherwise hand both to the kernel and fault them in again
    at the next call, which a model that holds more does not do.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _keep_memory) as process:
        return process.submit(work, *arguments).result()


def _keep_memory() -> None:
    torch.set_num_threads(1)
    for threshold in (TRIM_THRESHOLD, MMAP_THRESHOLD):
        if not ctypes.CDLL(None).mallopt(threshold, 1 << 30):
            raise OSError(f"malloc did not take threshold {threshold}")


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
