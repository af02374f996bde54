"""Each guard against silent failure is tripped once, and stays silent in a good case."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kdbench
from kdbench.data.batch import Batch
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.knowledge.hidden import Hidden
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.lr_schedule import constant
from kdbench.matching.pairing import Pairing
from kdbench.model import Model
from kdbench.module import guards
from kdbench.module.fit import fit
from kdbench.module.student import StudentModule, teacher_taps
from kdbench.module.training import BatchStream, Training
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs, Taps
from kdbench.projection.identity import Identity
from kdbench.store import Store
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.term import Term

Bags = Callable[..., Model]
Settings = Callable[..., Training]
Overrides = Callable[..., list[str]]
ADAMW = partial(torch.optim.AdamW, lr=1e-3)


def terms() -> list[Term]:
    return [
        Term("label", Label(), cross_entropy),
        Term("soft", Logits(), kl),
        Term("hidden", Hidden(False), mse, Pairing([(1, 1)]), Identity(6, 6, [], [])),
    ]


def taught(student: Model, teacher: Model, terms: list[Term], training: Training) -> StudentModule:
    source = TeacherOutputs(teacher_taps(terms), teacher)
    return StudentModule(student, [source], terms, ADAMW, constant, training, 12)


@pytest.fixture
def module(bag: Bags, training: Settings) -> StudentModule:
    """A student with dropout and a teacher of other weights."""
    return taught(bag(dropout=0.2), bag(dropout=0.2, seed=1), terms(), training())


@pytest.fixture
def stream(rows: Split, training: Settings) -> BatchStream:
    return BatchStream(rows, training(), 1, 0)


def detached(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """An objective that forgets the student's graph."""
    return (student.detach() - teacher).square().flatten(1).mean(dim=1)


def of_classes(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """An objective that reads the student's decisions, which have no gradient."""
    return (student.argmax(dim=-1) != teacher.argmax(dim=-1)).float()


def infinite(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    return (student - teacher).square().sum(dim=-1) * torch.inf


def with_term(module: StudentModule, term: Term, training: Training) -> StudentModule:
    return taught(module.model, module.teachers[0], [*terms(), term], training)


def test_a_good_module_passes_every_guard(module: StudentModule, stream: BatchStream) -> None:
    guards.teacher_is_apart(module, module.configure_optimizers())
    guards.preflight(module, stream)


def test_a_student_of_labels_alone_needs_no_teacher(bag: Bags, training: Settings, stream: BatchStream) -> None:
    module = StudentModule(bag(), [], terms()[:1], ADAMW, constant, training(), 12)
    guards.teacher_is_apart(module, module.configure_optimizers())
    guards.preflight(module, stream)


@pytest.mark.parametrize("part", ["", "dropout"])
def test_a_teacher_in_train_mode_is_refused(module: StudentModule, part: str) -> None:
    module.teachers[0].get_submodule(part).train()
    with pytest.raises(KdbenchError, match=r"teacher is in train mode.*teacher\.eval\(\)"):
        guards.teacher_is_apart(module, module.configure_optimizers())


def test_training_the_student_leaves_the_teacher_in_evaluation_mode(
    module: StudentModule, rows: Split, stream: BatchStream, tmp_path: Path
) -> None:
    (teacher,) = module.teachers
    modes: set[bool] = set()
    teacher.register_forward_hook(lambda part, *_: modes.add(part.training))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    fit(module, stream, lambda: {"validation/accuracy": 0.5}, "validation/accuracy", tmp_path, "cpu")
    assert modes == {False} and not any(part.training for part in teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_teacher_that_asks_for_gradients_is_refused(module: StudentModule) -> None:
    next(module.teachers[0].parameters()).requires_grad_()
    with pytest.raises(KdbenchError, match=r"ask for gradients.*requires_grad_\(False\)"):
        guards.teacher_is_apart(module, module.configure_optimizers())


def test_a_teacher_in_the_optimizer_is_refused(module: StudentModule) -> None:
    optimizer = module.configure_optimizers()
    optimizer.add_param_group({"params": [next(module.teachers[0].parameters())]})
    with pytest.raises(KdbenchError, match="optimizer holds parameters of the teacher"):
        guards.teacher_is_apart(module, optimizer)


def test_a_teacher_in_the_checkpoint_is_refused(module: StudentModule) -> None:
    optimizer = module.configure_optimizers()
    module.add_module("kept", module.teachers[0])
    with pytest.raises(KdbenchError, match="teacher's weights would be saved"):
        guards.teacher_is_apart(module, optimizer)


def test_weights_shared_with_the_teacher_are_refused(module: StudentModule) -> None:
    """A student that borrows a part of the teacher would save it, under another name."""
    optimizer = module.configure_optimizers()
    module.model.add_module("norm", module.teachers[0].get_submodule("norm"))
    with pytest.raises(KdbenchError, match="teacher's weights would be saved"):
        guards.teacher_is_apart(module, optimizer)


class Silent(Hidden):
    """Asks for nothing, and so finds nothing."""

    def taps(self, layers: Any) -> Taps:
        return Taps()


def test_a_term_that_sees_no_tensors_is_refused(module: StudentModule, stream: BatchStream, training: Settings) -> None:
    silent = Term("silent", Silent(False), mse, Pairing([(2, 2)]), Identity(6, 6, [], []))
    with pytest.raises(KdbenchError, match="term 'silent' sees no tensors of the student's layer 2"):
        guards.preflight(with_term(module, silent, training()), stream)


@pytest.mark.parametrize("objective", [detached, of_classes])
def test_a_term_without_a_gradient_is_refused(
    module: StudentModule, stream: BatchStream, training: Settings, objective: Callable[..., Tensor]
) -> None:
    dead = Term("dead", Logits(), objective)
    with pytest.raises(KdbenchError, match=r"term 'dead' has the loss .* but no gradient .*weight 0"):
        guards.preflight(with_term(module, dead, training()), stream)


def test_a_term_whose_gradient_reaches_its_projection_alone_is_refused(
    module: StudentModule, stream: BatchStream, training: Settings
) -> None:
    class Deaf(Identity):
        """Maps a constant instead of the student: trains itself, and teaches nobody."""

        def __init__(self) -> None:
            super().__init__(6, 6, [1], [1])
            self.map = torch.nn.Linear(6, 6)

        def of_student(self, values: Tensor, layer: int) -> Tensor:
            mapped: Tensor = self.map(torch.ones_like(values))
            return mapped

    deaf = Term("deaf", Hidden(False), mse, Pairing([(1, 1)]), Deaf())
    with pytest.raises(KdbenchError, match=r"term 'deaf' has the loss .* but no gradient"):
        guards.preflight(with_term(module, deaf, training()), stream)


def test_a_term_that_is_not_finite_is_refused(module: StudentModule, stream: BatchStream, training: Settings) -> None:
    with pytest.raises(KdbenchError, match="term 'infinite' is inf on the first batches"):
        guards.preflight(with_term(module, Term("infinite", Logits(), infinite), training()), stream)


def test_a_student_that_starts_as_its_teacher_may_have_no_gradient_yet(
    bag: Bags, training: Settings, stream: BatchStream
) -> None:
    hidden = Term("hidden", Hidden(False), mse, Pairing([(1, 1)]), Identity(6, 6, [], []))
    guards.preflight(taught(bag(), bag(), [hidden], training()), stream)


def test_no_batches_are_refused(module: StudentModule) -> None:
    with pytest.raises(KdbenchError, match=r"training split gives no batch: see data\.train_rows"):
        guards.preflight(module, [])


def test_two_batches_are_enough(module: StudentModule, stream: BatchStream) -> None:
    taken = []

    def batches() -> Any:
        for batch in stream:
            taken.append(batch)
            yield batch

    guards.preflight(module, batches())
    assert len(taken) == 2


@pytest.mark.parametrize("training_mode", [True, False])
def test_preflight_leaves_no_trace(module: StudentModule, stream: BatchStream, training_mode: bool) -> None:
    module.train(training_mode)
    optimizer = module.configure_optimizers()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state()
    guards.preflight(module, stream)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert not optimizer.state_dict()["state"] and all(parameter.grad is None for parameter in module.parameters())
    assert module.training is training_mode and module.model.training is training_mode
    assert module.done == 0 and not module.history


@pytest.mark.parametrize(("tokenizer", "vocabulary"), [(5, 30522), (30523, 30522)])
def test_a_tokenizer_that_is_not_the_models_is_refused(tokenizer: int, vocabulary: int) -> None:
    with pytest.raises(KdbenchError, match=f"tokenizer of X has {tokenizer} tokens.*vocabulary has {vocabulary}.*own"):
        guards.tokenizer_fits(tokenizer, vocabulary, "X")
    guards.tokenizer_fits(vocabulary, vocabulary, "X")


def test_a_teacher_below_its_students_start() -> None:
    assert guards.teacher_below_start(0.6, 0.6, "validation/accuracy", "error") is None
    found = guards.teacher_below_start(0.5, 0.6, "validation/accuracy", "warn")
    assert found is not None and "0.5000, below 0.6000" in found and "teacher.training.epochs" in found
    with pytest.raises(KdbenchError, match=re.escape(found)):
        guards.teacher_below_start(0.5, 0.6, "validation/accuracy", "error")


# Through whole runs.


def spoilt_teacher(source: Path, folder: Path) -> Path:
    """A copy of a teacher whose tokenizer has lost its last 20 words."""
    shutil.copytree(source, folder)
    (folder / "tokenizer.json").unlink()
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (folder / "vocab.txt").write_text("\n".join(words[:-20]) + "\n", encoding="utf-8")
    return folder


def test_a_cut_vocabulary_ends_a_run(tiny: Overrides, tiny_teacher: Path, tmp_path: Path) -> None:
    folder = spoilt_teacher(tiny_teacher, tmp_path / "cut")
    whole = json.loads((tiny_teacher / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    sentence = rf"tokenizer of teacher\.model=\S+ has {whole - 20} tokens, but the model's vocabulary has {whole}"
    with pytest.raises(KdbenchError, match=sentence):
        kdbench.run(kdbench.compose(tiny(f"teacher.model={folder}")))
    kinds = [artefact.kind for artefact in Store(tmp_path / "store").artefacts() if artefact.complete]
    assert kinds == ["data"]


@pytest.fixture
def worse_teacher(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """A teacher whose record says that it never is right; returns the steps that were trained after it was asked."""
    steps: list[int] = []

    def record(_: Path) -> dict[str, Any]:
        return {"metrics": {"validation/accuracy": 0.0}, "cost": {}}

    losses = StudentModule.training_step

    def training_step(module: StudentModule, batch: Batch, batch_idx: int) -> None:
        steps.append(module.done)
        losses(module, batch, batch_idx)

    monkeypatch.setattr("kdbench.stage.teacher_record", record)
    monkeypatch.setattr("kdbench.record.teacher_record", record)
    monkeypatch.setattr(StudentModule, "training_step", training_step)
    return lambda: steps


def test_a_worse_teacher_is_recorded(tiny: Overrides, worse_teacher: Callable[[], Sequence[int]]) -> None:
    record = kdbench.run(kdbench.compose(tiny()))
    (found,) = record["guards"]
    assert "the teacher's validation/accuracy is 0.0000, below" in found and worse_teacher()


def test_a_worse_teacher_is_refused_before_the_training(
    tiny: Overrides, worse_teacher: Callable[[], Sequence[int]]
) -> None:
    with pytest.raises(KdbenchError, match=r"below 0\.\d+ of its student before any training"):
        kdbench.run(kdbench.compose(tiny("guards.teacher_below_start=error")))
    assert not worse_teacher()


def test_a_good_teacher_is_not_remarked(tiny: Overrides) -> None:
    """A student that starts as its teacher's copy cannot start above it."""
    record = kdbench.run(kdbench.compose(tiny("student.layers=4", "guards.teacher_below_start=error")))
    assert record["guards"] == []
    assert record["start_metrics"]["validation/accuracy"] == record["teacher"]["metrics"]["validation/accuracy"]


def test_a_term_without_a_gradient_ends_a_run(tiny: Overrides, monkeypatch: pytest.MonkeyPatch) -> None:
    @wraps(mse)  # whose options it takes, and ignores
    def called(student: Tensor, teacher: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        return detached(student, teacher, mask)

    monkeypatch.setattr("kdbench.objective.mse.mse", called)
    overrides = tiny("knowledge=hidden", "student.dropout=0", "matching=last")
    with pytest.raises(KdbenchError, match=r"term 'transfer' has the loss .* but no gradient"):
        kdbench.run(kdbench.compose(overrides))
    assert kdbench.run(kdbench.compose([*overrides, "guards.preflight=false"]))["history"]


def test_the_outputs_of_a_model_without_captures_are_named() -> None:
    """A knowledge of which the teacher's side is missing is found at the first batch too."""
    term = Term("hidden", Hidden(False), mse, Pairing([(1, 1)]), Identity(6, 6, [], []))
    mask = torch.ones(1, 2, dtype=torch.bool)
    with_layer = ModelOutputs(mask, hidden={1: torch.zeros(1, 2, 6)})
    with pytest.raises(KdbenchError, match="term 'hidden' sees no tensors"):
        term(with_layer, ModelOutputs(mask))
