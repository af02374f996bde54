"""Products between tokens against loops; what they are blind to; no width to meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.knowledge.gram_tokens import GramTokens
from kdbench.matching.pairing import Pairing
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs
from kdbench.projection.to_teacher import ToTeacher
from kdbench.shape import Shape
from kdbench.term import Term

Outputs = Callable[..., ModelOutputs]
Compared = Callable[..., Tensor]
LENGTHS = (5, 3, 1)


def products(hidden: Tensor, row: int, view: str) -> list[float]:
    """H H^T / D of a row's real tokens, or of their spans of two."""
    vectors = [hidden[row, token].tolist() for token in range(LENGTHS[row])]
    if view == "spans":
        spans = [vectors[start : start + 2] for start in range(0, len(vectors), 2)]
        vectors = [[sum(column) / len(span) for column in zip(*span, strict=True)] for span in spans]
    return [sum(a * b for a, b in zip(left, right, strict=True)) / len(left) for left in vectors for right in vectors]


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("view", ["tokens", "spans"])
def test_products_equal_their_definition_whatever_the_widths(
    view: str, padding: int, outputs: Outputs, compared: Compared
) -> None:
    student, teacher = outputs(1, width=4, padding=padding), outputs(2, width=8, padding=padding)
    knowledge = GramTokens(view=view, span_length=2)  # type: ignore[arg-type]
    knowledge.check(Shape(2, 4, 2, 3), Shape(4, 8, 2, 3), False)
    loss = compared(knowledge, mse, student, teacher, 1)
    for row in range(3):
        pairs = list(zip(*(products(side.hidden[1], row, view) for side in (student, teacher)), strict=True))
        expected = sum((ours - theirs) ** 2 for ours, theirs in pairs) / len(pairs)
        assert float(loss[row]) == pytest.approx(expected, abs=1e-9)


def test_a_projection_maps_the_states_before_their_products(outputs: Outputs, compared: Compared) -> None:
    student, teacher = outputs(1, width=4), outputs(2, width=8)
    projection = ToTeacher(4, 8, [1], [2]).double()
    term = Term("gram", GramTokens(False), mse, Pairing([(1, 2)]), projection)
    mapped = replace(student, hidden={2: projection.of_student(student.hidden[1], 1)})
    torch.testing.assert_close(term(student, teacher), compared(GramTokens(), mse, mapped, teacher, 2))


def test_a_rotation_changes_nothing_and_the_order_of_one_sides_tokens_does(
    outputs: Outputs, compared: Compared, rotation: Callable[[int], Tensor]
) -> None:
    student, teacher = outputs(1), outputs(2)
    expected = compared(GramTokens(), mse, student, teacher, 1)
    turned = replace(student, hidden={1: student.hidden[1] @ rotation(8)})
    torch.testing.assert_close(compared(GramTokens(), mse, turned, teacher, 1), expected, atol=1e-9, rtol=1e-9)
    order = torch.tensor([4, 2, 0, 1, 3])
    shuffled, both = (replace(side, hidden={1: side.hidden[1][:, order]}) for side in (student, teacher))
    assert abs(float(compared(GramTokens(), mse, shuffled, teacher, 1)[0] - expected[0])) > 1e-3
    assert float(compared(GramTokens(), mse, shuffled, both, 1)[0]) == pytest.approx(float(expected[0]), abs=1e-9)


def test_what_has_no_places_is_refused() -> None:
    with pytest.raises(KdbenchError, match=r"knowledge.view=mean is unknown: choose tokens or spans"):
        GramTokens(view="mean")  # type: ignore[arg-type]
