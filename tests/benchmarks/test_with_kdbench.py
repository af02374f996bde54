"""The benchmarks' side of kdbench trains what they say it trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import with_kdbench
from benchmarks.measure import difference
from benchmarks.models import TEACHER, encoder, frozen
from benchmarks.task import Task, equal_rows
from kdbench.quiet import quiet_libraries


@pytest.mark.parametrize("full", [True, False])
def test_files_and_a_live_teacher_give_the_same_losses_and_gradients(full: bool, tmp_path: Path) -> None:
    task, split, teacher = Task(1, 1, 64, full=full), equal_rows(), frozen(encoder(TEACHER, 99))
    live, _ = with_kdbench.gradient(task, split, with_kdbench.live_outputs(task, teacher, "f32", "f32"))
    kept, _ = with_kdbench.gradient(task, split, with_kdbench.write_outputs(task, split, teacher, tmp_path))
    assert kept[0] == pytest.approx(live[0], rel=1e-3)
    assert difference(kept[1], live[1]) < 1e-3


def test_a_student_is_trained_and_written(tmp_path: Path) -> None:
    quiet_libraries()
    task = Task(1, 1, 64, full=False)
    outputs = with_kdbench.live_outputs(task, frozen(encoder(TEACHER, 99)))
    with_kdbench.train(task, 1, task.split, outputs, tmp_path, "grouped")
    trained, fresh = load_file(tmp_path / "student.safetensors"), encoder((3, 192), 1).state_dict()
    assert trained.keys() == fresh.keys()
    assert all(bool(torch.isfinite(value).all()) for value in trained.values())
    assert any(not torch.equal(value, fresh[key]) for key, value in trained.items())
