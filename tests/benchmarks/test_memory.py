"""A measurement in a process of its own."""

from __future__ import annotations

import os
import resource

import pytest
import torch

from benchmarks.memory import keeping_memory

SIZE = 24_000_000  # bytes of a tensor


def test_memory_that_was_freed_is_not_faulted_in_again() -> None:
    process, threads, faults = keeping_memory(faults_of_a_call)
    assert process != os.getpid() and threads == 1
    assert faults < SIZE // resource.getpagesize() // 10


def test_an_error_there_is_an_error_here() -> None:
    with pytest.raises(ZeroDivisionError):
        keeping_memory(divmod, 1, 0)


def faults_of_a_call() -> tuple[int, int, int]:
    def call() -> None:
        first, second = (torch.ones(SIZE // 4) for _ in range(2))
        del first, second

    for _ in range(8):  # until the heap has found its shape
        call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call()
    return os.getpid(), torch.get_num_threads(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
