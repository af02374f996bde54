"""Where students begin: what is copied, what is refused, and that the teacher is left as it was."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from kdbench.data.batch import Batch
from kdbench.encoder.base import Encoder
from kdbench.encoder.load import from_config
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.initialization.checkpoint import Checkpoint
from kdbench.initialization.pretrained import Pretrained
from kdbench.initialization.random import Random
from kdbench.initialization.teacher_layers import TeacherLayers, teacher_list
from kdbench.matching.explicit import Explicit
from kdbench.matching.first import First
from kdbench.matching.last import Last
from kdbench.matching.stride import Stride
from kdbench.matching.uniform import Uniform
from kdbench.outputs import Taps
from kdbench.shape import Shape
from kdbench.store import Store


def encoder(layers: int, seed: int, width: int = 16, heads: int = 2, **more: int) -> Encoder:
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 32, "vocab_size": 30, **more}
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


@pytest.mark.parametrize("listed", [[3, 6, 1], [2, 2, 5]])
def test_listed_layers_are_bitwise_the_teachers(listed: list[int], tmp_path: Path) -> None:
    student, teacher = encoder(3, seed=1), encoder(6, seed=2)
    made = teacher_list(listed)
    made.check(student.shape, teacher.shape)
    made.initialize(student, teacher, Store(tmp_path))
    for ours, theirs in zip(student.layers, listed, strict=True):
        for left, right in zip(ours.parameters(), teacher.layers[theirs - 1].parameters(), strict=True):
            assert torch.equal(left, right)
    assert torch.equal(student.embeddings.word_embeddings.weight, teacher.embeddings.word_embeddings.weight)


def test_every_layer_listed_gives_the_teachers_logits(tmp_path: Path) -> None:
    student, teacher = encoder(3, seed=1), encoder(3, seed=2)
    teacher_list([1, 2, 3]).initialize(student, teacher, Store(tmp_path))
    torch.testing.assert_close(student(batch(), Taps()).logits, teacher(batch(), Taps()).logits)


@pytest.mark.parametrize(
    ("listed", "complaint"),
    [
        ([1, 2], r"initialization.layers=\[1, 2\] must name one teacher layer for each of the student's 3"),
        ([], "with 3 numbers"),
        ("abc", "initialization.layers=abc"),
        (3, "initialization.layers=3"),
        ([1, 2, 7], "holds 7, which is no layer of the teacher: give numbers from 1 to 6"),
        ([0, 1, 2], "holds 0"),
        ([1, 2.0, 3], r"holds 2\.0"),
        ([True, 2, 3], "holds True"),
        ([[1, 1], [2, 2], [3, 3]], r"holds \[1, 1\]"),
    ],
)
def test_a_list_that_fits_no_layers_is_refused(listed: list[int], complaint: str) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        teacher_list(listed).check(Shape(3, 16, 2, 2), Shape(6, 16, 2, 2))


@pytest.mark.parametrize("matching", [First(), Uniform(), Last(), Stride()])
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
        (Shape(3, 16, 2, 2), First(2), "choose initialization=teacher_list"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(student: Shape, matching: First, complaint: str) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        TeacherLayers(matching).check(student, Shape(6, 16, 2, 2))


def heads_of(model: Encoder, values: torch.Tensor) -> torch.Tensor:
    """The output of the first layer's value map, (heads, head width), for one input vector."""
    attention = model.layers[0].attention.self
    return attention.value(values).reshape(attention.num_attention_heads, -1)


def test_a_slice_is_the_first_rows_and_columns_and_cuts_heads_whole(tmp_path: Path) -> None:
    student = encoder(2, seed=1, width=8, heads=2, intermediate_size=20, max_position_embeddings=64)
    teacher = encoder(4, seed=2, width=16, heads=4)
    made = TeacherLayers(Uniform(), width="slice")
    made.check(student.shape, teacher.shape)
    made.initialize(student, teacher, Store(tmp_path))
    ours, theirs = student.layers[0], teacher.layers[1]
    assert torch.equal(ours.intermediate.dense.weight, theirs.intermediate.dense.weight[:20, :8])
    assert torch.equal(ours.output.dense.weight, theirs.output.dense.weight[:8, :20])
    assert torch.equal(ours.output.LayerNorm.bias, theirs.output.LayerNorm.bias[:8])
    assert torch.equal(student.embeddings.word_embeddings.weight, teacher.embeddings.word_embeddings.weight[:, :8])
    assert torch.equal(
        student.embeddings.position_embeddings.weight, teacher.embeddings.position_embeddings.weight[:64, :8]
    )
    assert torch.equal(student.model.classifier.weight, teacher.model.classifier.weight[:, :8])
    vector = torch.randn(8)
    for head in range(2):  # of an input that lives in the first 8 features, a head sees what the teacher's sees
        sliced = encoder(1, seed=3, width=16, heads=4)
        teacher_list([2]).initialize(sliced, teacher, Store(tmp_path))
        wide = heads_of(sliced, torch.cat([vector, torch.zeros(8)]))
        torch.testing.assert_close(heads_of(student, vector)[head], wide[head])


def test_a_slice_of_the_whole_width_is_the_copy(tmp_path: Path) -> None:
    student, teacher = encoder(2, seed=1), encoder(2, seed=2)
    teacher_list([1, 2], width="slice").initialize(student, teacher, Store(tmp_path))
    assert all(torch.equal(values, teacher.state_dict()[name]) for name, values in student.state_dict().items())


@pytest.mark.parametrize(
    ("student", "complaint"),
    [
        (Shape(2, 32, 4, 2), "the student's width is 32 and the teacher's 16: choose initialization=random"),
        (Shape(2, 8, 2, 2), r"the student's are 4 wide \(2 of width 8\) and the teacher's 8: set student.heads=1, or"),
        (Shape(2, 12, 2, 2), "the teacher's 8: choose initialization=random"),
        (Shape(7, 8, 1, 2), "the teacher only 6"),
    ],
)
def test_a_slice_that_cannot_be_cut_is_refused(student: Shape, complaint: str) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        TeacherLayers(First(), width="slice").check(student, Shape(6, 16, 2, 2))


@pytest.mark.parametrize("width", ["equal", "slice"])
@pytest.mark.parametrize("more", [{"vocab_size": 25}, {"intermediate_size": 40}, {"num_labels": 3}])
def test_parts_that_do_not_fit_are_refused(width: str, more: dict[str, int], tmp_path: Path) -> None:
    """Neither words nor classes are ever cut, and nothing is filled up."""
    made = TeacherLayers(First(), width=width)  # type: ignore[arg-type]
    with pytest.raises(ImpossibleError, match="initialization=teacher_first does not fit"):
        made.initialize(encoder(2, seed=1, **more), encoder(2, seed=2), Store(tmp_path))


def test_a_width_is_a_known_word() -> None:
    with pytest.raises(KdbenchError, match=r"initialization\.width=project is unknown: choose equal or slice"):
        TeacherLayers(First(), width="project")  # type: ignore[arg-type]


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
