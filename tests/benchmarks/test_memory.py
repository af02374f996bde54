"""A measurement in a process of its own."""

from __future__ import annotations

import os

import pytest

from benchmarks.memory import in_a_fresh_process


def test_it_is_another_process() -> None:
    assert in_a_fresh_process(os.getpid) != os.getpid()


def test_an_error_there_is_an_error_here() -> None:
    with pytest.raises(ZeroDivisionError):
        in_a_fresh_process(divmod, 1, 0)
