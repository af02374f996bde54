"""Peak memory of one call, and measurements in a process of their own (Linux: the high-water mark is the kernel's)."""

from __future__ import annotations

import multiprocessing
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


def in_a_fresh_process(work: Callable[..., Found], *arguments: object, keeping_memory: bool = False) -> Found:
    """What a function of a module finds, on one thread of a new process.

    Args:
        work: importable by its name.
        arguments: of it; they are pickled.
        keeping_memory: whether that process keeps freed memory, as a run does. Without it a call that allocates twice
            the size of its result hands both to the kernel and faults them in again.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _begin, (keeping_memory,)) as process:
        return process.submit(work, *arguments).result()


def _begin(keeping_memory: bool) -> None:
    torch.set_num_threads(1)
    if keeping_memory:
        keep_freed_memory()


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
