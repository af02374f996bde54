"""The framework's own checks on whole small runs: what a term of weight 0 leaves alone, what projections touch, what a
teacher never feels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.data.batch import Batch
from kdbench.head import ClassHead
from kdbench.knowledge.hidden import Hidden
from kdbench.knowledge.logits import Logits
from kdbench.lr_schedule import constant
from kdbench.matching.pairing import Pairing
from kdbench.module.student import StudentModule, teacher_taps
from kdbench.module.training import Training
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.projection.to_teacher import ToTeacher
from kdbench.store import Store
from kdbench.student.bert import bert
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.term import Term

Overrides = Callable[..., list[str]]
SHORT = ("training.log_every_steps=1", "training.max_steps=6", "data.train_rows=96")
WITHOUT_WEIGHT = [f"+schedule@stages.task.terms.{term}.schedule.weight=constant" for term in ("soft", "transfer")] + [
    f"stages.task.terms.{term}.schedule.weight.value=0.0" for term in ("soft", "transfer")
]


def weights(record: dict[str, Any], store: Path) -> dict[str, torch.Tensor]:
    return load_file(Store(store).path("stage", record["stages"][-1]) / "student.safetensors")


def test_terms_without_weight_leave_plain_fine_tuning_bit_for_bit(narrow_in: Overrides, tmp_path: Path) -> None:
    """They are computed, their projections are drawn and in the optimizer, and nothing of the student shifts."""
    store = tmp_path / "store"
    plain = kdbench.run(kdbench.compose(narrow_in(store, "method=label", *SHORT)))
    axes = ("method=unified_soft", "knowledge=hidden", "projection=to_teacher")
    taught = kdbench.run(kdbench.compose(narrow_in(store, *axes, *SHORT, *WITHOUT_WEIGHT)))
    curves = [
        [entry["train/term/label"] for entry in record["history"] if "train/term/label" in entry]
        for record in (plain, taught)
    ]
    assert len(curves[0]) == 6 and curves[0] == curves[1]
    assert all(entry["train/term/transfer"] == 0.0 for entry in taught["history"] if "train/term/transfer" in entry)
    left, right = weights(plain, store), weights(taught, store)
    assert plain["stages"] != taught["stages"]
    assert set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


def test_a_teacher_is_the_same_before_and_after_a_student(narrow_in: Overrides, tmp_path: Path) -> None:
    store = tmp_path / "store"
    axes = ("method=unified", "knowledge=hidden", "projection=to_teacher", *SHORT)
    record = kdbench.run(kdbench.compose(narrow_in(store, *axes)))
    teacher = Store(store).path("teacher", record["teacher"]["signature"])
    written = {path: path.stat().st_mtime_ns for path in teacher.rglob("*")}
    assert Store(store).damage("teacher", record["teacher"]["signature"], hashed=True) is None
    other = kdbench.run(kdbench.compose(narrow_in(store, *axes, "seed=2")))
    assert other["teacher"]["signature"] == record["teacher"]["signature"]
    assert Store(store).damage("teacher", record["teacher"]["signature"], hashed=True) is None
    assert {path: path.stat().st_mtime_ns for path in teacher.rglob("*")} == written


@pytest.fixture
def module() -> StudentModule:
    """A narrow student of a wider teacher, taught by logits and by hidden states through a projection."""
    torch.manual_seed(0)
    student, teacher = (bert(2, width, 2, 16, 40, ClassHead(("no", "yes")), max_positions=16) for width in (8, 12))
    terms = [
        Term("soft", Logits(), kl),
        Term("hidden", Hidden(False), mse, Pairing([(1, 1), (2, 2)]), ToTeacher(8, 12, [1, 2], [1, 2])),
    ]
    settings = Training(1, None, 4, 1, None, "exact", True, 1, None, "last", 10, 1)
    source = TeacherOutputs(teacher_taps(terms), teacher)
    return StudentModule(
        student, [source], terms, lambda groups: torch.optim.SGD(groups, lr=0.1), constant, settings, 4
    )


def batch(labels: list[int]) -> Batch:
    ids = torch.randint(5, 40, (4, 7), generator=torch.Generator().manual_seed(1))
    return Batch(
        ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids), torch.tensor(labels), torch.arange(4)
    )


def test_projections_are_trained_and_are_no_part_of_the_student(module: StudentModule) -> None:
    optimizer = module.configure_optimizers()
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    projection = list(module.terms[1].projection.parameters())  # type: ignore[union-attr]
    assert len(projection) == 4 and all(id(parameter) in trained for parameter in projection)
    module.losses(batch([0, 1, 0, 1])).sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in projection)
    assert not any("projection" in name for name in module.model.state_dict())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in module.teachers[0].parameters())


def test_without_a_term_of_labels_shuffled_labels_change_nothing(module: StudentModule) -> None:
    module.eval()
    gradients = []
    for labels in ([0, 1, 0, 1], [1, 1, 0, 0]):
        module.zero_grad()
        module.losses(batch(labels)).sum().backward()
        gradients.append([weight.grad.clone() for weight in module.model.parameters() if weight.grad is not None])
    assert len(gradients[0]) > 20
    assert all(torch.equal(left, right) for left, right in zip(*gradients, strict=True))
