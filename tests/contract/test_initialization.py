"""Every initialization: the student begins finite and in its own memory, and the teacher stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kdbench.config import instantiate
from kdbench.initialization.base import Initialization
from kdbench.kronecker.choice import FactorChoice
from kdbench.kronecker.factorise import factorise
from kdbench.model import Model
from kdbench.store import Store


def classifier(model: Any) -> Model:
    """Of the two heads of a model here the one that is Hugging Face's."""
    found: Model = model.classifier
    return found


@pytest.fixture
def earlier(models: dict[str, Model], tmp_path: Path) -> dict[str, dict[str, Any]]:
    """A student of before: as a Hugging Face folder, and as a finished stage."""
    before = copy.deepcopy(classifier(models["student"])).float()
    before.save(tmp_path / "folder")

    def stage(partial: Path) -> None:
        weights = {key: value.contiguous() for key, value in before.state_dict().items()}
        save_file(weights, partial / "student.safetensors")

    Store(tmp_path / "store").obtain("stage", "0" * 16, stage)
    return {"pretrained": {"model": str(tmp_path / "folder")}, "checkpoint": {"signature": "0" * 16}}


def test_the_student_begins_and_the_teacher_is_untouched(
    initialization: str,
    option: Callable[[str, str], Any],
    models: dict[str, Model],
    earlier: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    made: Initialization = instantiate({**option("initialization", initialization), **earlier.get(initialization, {})})
    student, teacher = (copy.deepcopy(classifier(models[role])).float() for role in ("student", "teacher"))
    if initialization == "nearest_kronecker":
        factorise(student.model, FactorChoice(attention={"b": [2, 2]}, embedding=4))  # type: ignore[attr-defined]
    shapes = {name: tensor.shape for name, tensor in student.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    made.check(student.shape, teacher.shape)
    made.initialize(student, teacher if made.needs_teacher else None, Store(tmp_path / "store"))
    assert {name: tensor.shape for name, tensor in student.state_dict().items()} == shapes
    assert all(bool(tensor.isfinite().all()) for tensor in student.state_dict().values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    theirs = {parameter.data_ptr() for parameter in teacher.parameters()}
    assert not any(parameter.data_ptr() in theirs for parameter in student.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_content_is_plain_and_stable(
    initialization: str, option: Callable[[str, str], Any], earlier: dict[str, dict[str, Any]]
) -> None:
    from kdbench.signature import signature

    node = {**option("initialization", initialization), **earlier.get(initialization, {})}
    found = [signature("content", instantiate(node).content()) for _ in range(2)]
    assert found[0] == found[1]
