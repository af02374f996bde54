"""Memory that a step frees is kept for the next one.

On a CPU a step of a model with a vocabulary frees and asks for gigabytes, and glibc hands each large block back to the
kernel, which clears it page by page before it gives it again.
"""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT = 1 << 30
"""Bytes that may lie free at the heap's end, and the least of a block that is not part of the heap."""


def keep_freed_memory() -> None:
    """Tell malloc of this process. One that the environment sets up, or of another C library, stays as it is."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    chosen = "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in os.environ)
    if chosen or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for threshold in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(threshold, KEPT)
