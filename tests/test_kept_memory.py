"""What a step frees is there for the next step, and malloc stays as the environment sets it up."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kdbench import kept_memory, train

PAGES = 2 * 48_000_000 // resource.getpagesize()
FAULTS = """
import resource, sys, torch
from kdbench.kept_memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()

def step():
    first, second = (torch.ones(12_000_000) for _ in range(2))

for _ in range(8):  # until the heap has found its shape
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str, **environment: str) -> int:
    """Pages that the kernel gave to a step of a fresh process."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS, way]
    return int(subprocess.check_output(command, env={**others, **environment}, text=True))


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_a_step_is_given_no_page_that_the_one_before_had() -> None:
    assert faults("kept") < PAGES // 10
    assert faults("as it is") > PAGES // 2
    assert faults("kept", MALLOC_MMAP_THRESHOLD_="65536") > PAGES // 2  # the user's own choice


@pytest.mark.parametrize("platform", ["darwin", "win32", "linux"])
def test_without_such_a_malloc_nothing_happens(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(kept_memory.ctypes, "CDLL", lambda name: SimpleNamespace())
    kept_memory.keep_freed_memory()


def test_a_job_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(train, "keep_freed_memory", lambda: told.append(True))
    monkeypatch.setattr(train, "_completed", lambda cfg: pytest.fail("a defect"))
    with pytest.raises(pytest.fail.Exception):
        train.job(None)  # type: ignore[arg-type]
    assert told
