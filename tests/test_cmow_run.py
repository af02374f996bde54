"""Whole runs of matrix-embedding students: what they are taught, what they share, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import kdbench

Overrides = Callable[..., list[str]]


@pytest.fixture
def cmow(tiny_teacher: Path, tmp_path: Path) -> Overrides:
    def overrides(*more: str) -> list[str]:
        return [
            "data=generated",
            "teacher=folder",
            f"teacher.model={tiny_teacher}",
            "teacher.training.epochs=1",
            "student=cmow",
            "student.matrix_width=4",
            "student.vector_width=16",
            "student.classifier.hidden=8",
            "training.epochs=1",
            "optimizer.lr=1e-2",
            "device=cpu",
            f"paths.store={tmp_path / 'store'}",
            *more,
        ]

    return overrides


@pytest.mark.parametrize("method", ["label", "cmow_task"])
def test_a_run(cmow: Overrides, method: str) -> None:
    record = kdbench.run(kdbench.compose(cmow(f"method={method}")))
    print(record["metrics"], record["student"])
