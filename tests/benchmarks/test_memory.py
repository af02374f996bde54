"""A measurement in a process of its own."""

from __future__ import annotations

import os

import pytest

from benchmarks.memory import keeping_memory


def test_it_is_another_process() -> None:
    assert keeping_memory(os.getpid) != os.getpid()


def test_an_error_there_is_an_error_here() -> None:
    with pytest.raises(ZeroDivisionError):
        keeping_memory(divmod, 1, 0)
