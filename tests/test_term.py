"""One summand: the sum over its pairs, its declaration of taps, and its refusals."""

from __future__ import annotations

import pytest
import torch

from kdbench.config import compose
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.attention import Attention
from kdbench.knowledge.hidden import Hidden
from kdbench.knowledge.label import Label
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs, Taps
from kdbench.projection.identity import Identity
from kdbench.projection.to_teacher import ToTeacher
from kdbench.shape import Shape
from kdbench.term import Term
from kdbench.terms import build_terms

MASK = torch.tensor([[True, True, False]])


def outputs(layers: int, width: int = 4, seed: int = 0) -> ModelOutputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    heads = {layer: draw(1, 2, 3, 2) for layer in range(1, layers + 1)}
    return ModelOutputs(
        mask=MASK,
        logits=draw(1, 2),
        labels=torch.tensor([1]),
        hidden={layer: draw(1, 3, width) for layer in range(layers + 1)},
        query=heads,
        key={layer: -value for layer, value in heads.items()},
        scaling=dict.fromkeys(heads, 0.5),
    )


def test_a_term_sums_its_pairs_or_takes_their_mean() -> None:
    student, teacher = outputs(2), outputs(4, seed=1)
    pairs = [(1, 2), (2, 4)]
    expected = sum(mse(student.hidden[s], teacher.hidden[t], MASK[:, :, None]) for s, t in pairs)
    summed = Term("hidden", Hidden(False), mse, pairs, Identity(4, 4, 2))
    averaged = Term("hidden", Hidden(False), mse, pairs, Identity(4, 4, 2), reduction="mean")
    torch.testing.assert_close(summed(student, teacher), expected)
    torch.testing.assert_close(averaged(student, teacher), expected / 2)


def test_taps_name_exactly_the_paired_layers() -> None:
    term = Term("attention", Attention(), mse, [(1, 2), (2, 4)], Identity(0, 0, 2))
    assert term.student_taps == Taps(query=frozenset({1, 2}), key=frozenset({1, 2}))
    assert term.teacher_taps == Taps(query=frozenset({2, 4}), key=frozenset({2, 4}))
    assert Hidden(embeddings=True).pairs([(1, 2)]) == [(0, 0), (1, 2)]


def test_labels_need_no_teacher() -> None:
    term = Term("label", Label(), cross_entropy)
    assert term.teacher_taps == Taps()
    student = outputs(1)
    assert student.logits is not None and student.labels is not None
    torch.testing.assert_close(term(student, None), cross_entropy(student.logits, student.labels))


def test_a_term_that_sees_no_tensors_is_refused() -> None:
    with pytest.raises(KdbenchError, match="term 'hidden' compares no layers"):
        Term("hidden", Hidden(), mse, [])
    term = Term("attention", Attention(), mse, [(1, 1)], Identity(0, 0, 1))
    silent = ModelOutputs(mask=MASK, logits=torch.zeros(1, 2))
    with pytest.raises(KdbenchError, match="term 'attention' sees no tensors"):
        term(silent, silent)


def test_a_shared_projection_has_one_map_and_an_unshared_one_a_pair() -> None:
    student = torch.randn(1, 3, 4)
    shared, apart = ToTeacher(4, 6, 3, shared=True), ToTeacher(4, 6, 3)
    assert len(shared.maps_of_pairs) == 1 and len(apart.maps_of_pairs) == 3
    torch.testing.assert_close(shared(student, student, 0)[0], shared(student, student, 2)[0])
    assert not torch.allclose(apart(student, student, 0)[0], apart(student, student, 2)[0])
    assert shared(student, student, 1)[0].shape == (1, 3, 6)


def test_projections_draw_from_a_generator_of_their_own() -> None:
    cfg = compose(["method=unified", "knowledge=hidden", "projection=to_teacher", "data=generated"])
    shapes = Shape(3, 4, 2, 2), Shape(6, 8, 2, 2)
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    first = build_terms("task", cfg.stages.task.terms, *shapes, seed=1)
    torch.testing.assert_close(torch.randn(3), expected)
    again = build_terms("task", cfg.stages.task.terms, *shapes, seed=1)
    other = build_terms("task", cfg.stages.task.terms, *shapes, seed=2)
    weights = [terms[-1].projection.maps_of_pairs[0].weight for terms in (first, again, other)]  # type: ignore[union-attr]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("overrides", "shapes", "complaint"),
    [
        (["knowledge=hidden"], (Shape(3, 4, 2, 2), Shape(6, 8, 2, 2)), "choose projection=to_teacher"),
        (["knowledge=attention"], (Shape(3, 4, 2, 2), Shape(6, 8, 4, 2)), "set student.heads=4"),
        (
            ["knowledge=attention", "projection=to_teacher"],
            (Shape(3, 8, 4, 2), Shape(6, 8, 4, 2)),
            "projection=identity",
        ),
        (["knowledge=hidden", "matching=first"], (Shape(7, 8, 4, 2), Shape(6, 8, 4, 2)), "student has 7"),
        (
            ["knowledge=attention"],
            (Shape(3, 8, 4, 2, frozenset({"logits", "hidden"})), Shape(6, 8, 4, 2)),
            "reads key, query of the student",
        ),
    ],
)
def test_comparisons_that_cannot_work_are_refused(
    overrides: list[str], shapes: tuple[Shape, Shape], complaint: str
) -> None:
    cfg = compose(["method=unified", "data=generated", *overrides])
    with pytest.raises(ImpossibleError, match=complaint):
        build_terms("task", cfg.stages.task.terms, *shapes, seed=1)
