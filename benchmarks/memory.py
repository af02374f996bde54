"""Peak memory of one call, and measurements in a process of their own (Linux: the high-water mark is the kernel's)."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from kdbench.kept_memory import keep_freed_memory

Found = TypeVar("Found")


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
    """What a function of a module finds, on one thread of a fresh process that keeps freed memory, as a run does.

    A call that allocates twice the size of its result would otherwise hand both to the kernel and fault them in again.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _keep_memory) as process:
        return process.submit(work, *arguments).result()


def _keep_memory() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
