"""Where students begin: what is copied, what is refused, and that the teacher is left as it was."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from kdbench.data.batch import Batch
from kdbench.encoder import Encoder, from_config
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.initialization.checkpoint import Checkpoint
from kdbench.initialization.pretrained import Pretrained
from kdbench.initialization.random import Random
from kdbench.initialization.teacher_layers import TeacherLayers
from kdbench.matching.explicit import Explicit
from kdbench.matching.first import First
from kdbench.matching.last import Last
from kdbench.matching.uniform import Uniform
from kdbench.outputs import Taps
from kdbench.shape import Shape
from kdbench.store import Store


def encoder(layers: int, seed: int, width: int = 16) -> Encoder:
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 30}
    model = from_config(BertConfig(num_hidden_layers=layers, **sizes))
    model.eval()
    return model


def batch() -> Batch:
    ids = torch.arange(12).reshape(2, 6)
    return Batch(ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids), torch.zeros(2), torch.arange(2))


@pytest.mark.parametrize(("matching", "copied"), [(First(), [1, 2]), (Uniform(), [3, 6]), (Last(), [5, 6])])
def test_layers_embeddings_and_head_are_bitwise_the_teachers(
    matching: First, copied: list[int], tmp_path: Path
) -> None:
    student, teacher = encoder(2, seed=1), encoder(6, seed=2)
    before = copy.deepcopy(teacher.state_dict())
    TeacherLayers(matching).initialize(student, teacher, Store(tmp_path))
    for ours, theirs in enumerate(copied):
        for left, right in zip(student.layers[ours].parameters(), teacher.layers[theirs - 1].parameters(), strict=True):
            assert torch.equal(left, right)
    assert torch.equal(student.embeddings.word_embeddings.weight, teacher.embeddings.word_embeddings.weight)
    assert torch.equal(student.model.classifier.weight, teacher.model.classifier.weight)
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())
    with torch.no_grad():  # a copy, not a shared tensor
        student.layers[0].output.dense.weight.add_(1.0)
    assert torch.equal(before["model.bert.encoder.layer.0.output.dense.weight"],
                       teacher.state_dict()["model.bert.encoder.layer.0.output.dense.weight"])  # fmt: skip


@pytest.mark.parametrize("matching", [First(), Uniform(), Last()])
def test_at_equal_depth_the_student_gives_the_teachers_logits(matching: First, tmp_path: Path) -> None:
    student, teacher = encoder(3, seed=1), encoder(3, seed=2)
    assert not torch.allclose(student(batch(), Taps()).logits, teacher(batch(), Taps()).logits)
    TeacherLayers(matching).initialize(student, teacher, Store(tmp_path))
    torch.testing.assert_close(student(batch(), Taps()).logits, teacher(batch(), Taps()).logits)


@pytest.mark.parametrize(
    ("student", "matching", "complaint"),
    [
        (Shape(7, 16, 2, 2), First(), "the student has 7 and the teacher only 6"),
        (Shape(2, 32, 2, 2), Uniform(), r"the teacher's width and heads \(16 and 2\)"),
        (Shape(2, 16, 4, 2), Last(), "initialization=teacher_last"),
        (Shape(3, 16, 2, 2), Explicit([[1, 1], [3, 2]]), "each of the student's 3 layers"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(student: Shape, matching: First, complaint: str) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        TeacherLayers(matching).check(student, Shape(6, 16, 2, 2))


def test_random_leaves_what_the_architecture_drew(tmp_path: Path) -> None:
    student = encoder(2, seed=1)
    before = copy.deepcopy(student.state_dict())
    Random().initialize(student, None, Store(tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_pretrained_takes_the_body_and_leaves_the_head(tmp_path: Path) -> None:
    donor, student = encoder(2, seed=3), encoder(2, seed=1)
    donor.save(tmp_path / "donor")
    head = student.model.classifier.weight.clone()
    Pretrained(str(tmp_path / "donor")).initialize(student, None, Store(tmp_path))
    assert torch.equal(student.layers[1].output.dense.weight, donor.layers[1].output.dense.weight)
    assert torch.equal(student.model.classifier.weight, head)


def test_pretrained_of_another_shape_is_refused(tmp_path: Path) -> None:
    encoder(2, seed=3, width=32).save(tmp_path / "donor")
    with pytest.raises(ImpossibleError, match=r"initialization\.model"):
        Pretrained(str(tmp_path / "donor")).initialize(encoder(2, seed=1), None, Store(tmp_path))


def test_pretrained_from_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match=r"initialization\.model=.* is no model folder"):
        Pretrained(str(tmp_path)).content()


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match=r"initialization\.signature=0123 names no finished stage"):
        Checkpoint("0123").initialize(encoder(2, seed=1), None, Store(tmp_path))
