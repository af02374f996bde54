"""Peak memory of one call, in a process of its own (Linux: the high-water mark is the kernel's)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def peak_bytes(work: Callable[[], object]) -> int:
    """Of a call, above the level before it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _high_water()
    work()
    return _high_water() - before


def elsewhere(module: str, *arguments: str) -> float:
    """What a module of this folder prints when it is run with these arguments in a fresh process."""
    return float(subprocess.check_output([sys.executable, "-m", f"benchmarks.{module}", *arguments], text=True))


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
