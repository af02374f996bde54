"""Hidden states: the views, counted by hand; the pairs with the embeddings; layers behind each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.embeddings import Embeddings
from kdbench.knowledge.hidden import Hidden
from kdbench.matching.pairing import Pairing
from kdbench.objective.cosine import cosine
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs
from kdbench.projection.to_common import ToCommon
from kdbench.shape import Shape
from kdbench.term import Term

Outputs = Callable[..., ModelOutputs]
Compared = Callable[..., Tensor]
LENGTHS = (5, 3, 1)


def views(view: str, hidden: Tensor, row: int) -> list[Tensor]:
    """The vectors that a view sees of a row."""
    tokens = [hidden[row, token] for token in range(LENGTHS[row])]
    if view == "tokens":
        return tokens
    if view == "cls":
        return tokens[:1]
    if view == "mean":
        return [torch.stack(tokens).mean(0)]
    return [torch.stack(tokens[start : start + 2]).mean(0) for start in range(0, len(tokens), 2)]


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("view", ["tokens", "cls", "mean", "spans"])
def test_a_view_sees_the_vectors_counted_by_hand(view: str, padding: int, outputs: Outputs, compared: Compared) -> None:
    student, teacher = outputs(1, padding=padding), outputs(2, padding=padding)
    loss = compared(Hidden(view=view, span_length=2), mse, student, teacher, 1)  # type: ignore[arg-type]
    for row in range(3):
        seen = zip(views(view, student.hidden[1], row), views(view, teacher.hidden[1], row), strict=True)
        squares = [float(((ours - theirs) ** 2).mean()) for ours, theirs in seen]
        assert float(loss[row]) == pytest.approx(sum(squares) / len(squares), abs=1e-9)


def test_concatenated_layers_are_one_long_vector(outputs: Outputs, compared: Compared) -> None:
    student, teacher = outputs(1), outputs(2)
    knowledge = Hidden(view="mean", layers="concatenated")
    assert knowledge.joint and knowledge.width(Shape(2, 8, 2, 4), 3) == 24
    loss = compared(knowledge, cosine, student, teacher, 0, 1, 2)
    for row in range(3):
        ours, theirs = (
            torch.cat([views("mean", side.hidden[layer], row)[0] for layer in (0, 1, 2)]) for side in (student, teacher)
        )
        expected = 1 - float(ours @ theirs) / float(ours.norm() * theirs.norm())
        assert float(loss[row]) == pytest.approx(expected, abs=1e-9)


def test_concatenated_layers_of_unequal_widths_meet_in_one_projection(outputs: Outputs) -> None:
    """RAIL-KD: the layers behind each other, mapped on both sides to a common width."""
    student, teacher = outputs(1, width=4), outputs(2, width=8)
    projection = ToCommon(8, 16, [0], [0], width=3).double()
    pairs = [(1, 1), (2, 2)]
    term = Term("rail", Hidden(False, "mean", layers="concatenated"), mse, Pairing(pairs), projection)
    ours, theirs = (
        torch.stack([torch.cat([views("mean", side.hidden[layer], row)[0] for layer in (1, 2)]) for row in range(3)])
        for side in (student, teacher)
    )
    expected = (projection.of_student(ours, 0) - projection.of_teacher(theirs, 0)).square().mean(dim=1)
    torch.testing.assert_close(term(student, teacher), expected, atol=1e-9, rtol=1e-9)


def test_the_first_token_alone_is_seen_by_its_view_whatever_its_length(
    outputs: Outputs, compared: Compared, restated: Outputs
) -> None:
    student, teacher = outputs(1), outputs(2)
    knowledge = Hidden(False, "cls")
    elsewhere = student.hidden[1].clone()
    elsewhere[:, 1:] += 1.0
    longer = restated(student, {1: elsewhere * 3.0})
    expected = compared(knowledge, cosine, student, teacher, 1)
    torch.testing.assert_close(compared(knowledge, cosine, longer, teacher, 1), expected, atol=1e-9, rtol=1e-9)


def test_embeddings_meet_embeddings_whatever_the_matching_pairs(outputs: Outputs, compared: Compared) -> None:
    knowledge = Embeddings()
    for pairs in ([(1, 2), (2, 4)], [(2, 4)], [(0, 0), (1, 1)]):
        assert knowledge.pairs(pairs) == [(0, 0)]
    student, teacher = outputs(1), outputs(2)
    expected = compared(Hidden(), mse, student, teacher, 0)
    torch.testing.assert_close(compared(knowledge, mse, student, teacher, 0), expected, atol=0, rtol=0)
    with pytest.raises(ImpossibleError, match=r"knowledge=embeddings with projection=identity needs equal widths"):
        knowledge.check(Shape(2, 8, 2, 4), Shape(4, 16, 2, 4), False)
    knowledge.check(Shape(2, 8, 2, 4), Shape(4, 16, 2, 4), True)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"view": "word"}, "knowledge.view=word is unknown: choose tokens, cls, mean or spans"),
        ({"layers": "stacked"}, "knowledge.layers=stacked is unknown: choose each or concatenated"),
        ({"span_length": 0}, "knowledge.span_length=0 must be a whole number of at least 1"),
        ({"embeddings": "yes"}, "knowledge.embeddings=yes must be true or false"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        Hidden(**options)  # type: ignore[arg-type]
