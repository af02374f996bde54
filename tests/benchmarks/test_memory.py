"""A measurement in a process of its own."""

from __future__ import annotations

import os
import resource
import sys

import pytest
import torch

from benchmarks.memory import in_a_fresh_process

SIZE = 48_000_000  # bytes of a tensor: more than malloc would keep of its own accord
PAGES = 2 * SIZE // resource.getpagesize()


def test_it_is_another_process_with_one_thread() -> None:
    assert in_a_fresh_process(os.getpid) != os.getpid()
    assert in_a_fresh_process(torch.get_num_threads) == 1


def test_an_error_there_is_an_error_here() -> None:
    with pytest.raises(ZeroDivisionError):
        in_a_fresh_process(divmod, 1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_it_keeps_memory_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in filter(lambda name: name.startswith("MALLOC_"), list(os.environ)):  # a user's own choice stays
        monkeypatch.delenv(name)
    assert in_a_fresh_process(pages_of_a_call, keeping_memory=True) < PAGES // 10
    assert in_a_fresh_process(pages_of_a_call) > PAGES // 2


def pages_of_a_call() -> int:
    """Those that the kernel gives to a call after others like it."""
    for _ in range(9):  # until the heap has found its shape
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        first, second = (torch.ones(SIZE // 4) for _ in range(2))
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
