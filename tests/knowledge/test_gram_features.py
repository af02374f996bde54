"""Products between features against loops, and what they are blind to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.gram_features import GramFeatures
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs
from kdbench.shape import Shape

Outputs = Callable[..., ModelOutputs]
Related = Callable[..., tuple[Tensor, Tensor | None]]
LENGTHS = (5, 3, 1)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("view", ["tokens", "spans"])
def test_products_equal_their_definition(view: str, padding: int, outputs: Outputs, related: Related) -> None:
    side = outputs(1, width=4, padding=padding)
    found, mask = related(GramFeatures(view=view, span_length=2), side, 1)  # type: ignore[arg-type]
    assert mask is None and found.shape == (3, 4, 4)
    for row, length in enumerate(LENGTHS):
        vectors = list(side.hidden[1][row, :length])
        if view == "spans":
            vectors = [torch.stack(vectors[start : start + 2]).mean(0) for start in range(0, length, 2)]
        for left in range(4):
            for right in range(4):
                expected = sum(float(vector[left] * vector[right]) for vector in vectors) / len(vectors)
                assert float(found[row, left, right]) == pytest.approx(expected, abs=1e-9)


def test_the_order_of_the_tokens_plays_no_part(outputs: Outputs, compared: Callable[..., Tensor]) -> None:
    student, teacher = outputs(1), outputs(2)
    order = torch.tensor([[4, 2, 0, 1, 3], [1, 2, 0, 3, 4], [0, 1, 2, 3, 4]])
    hidden = {1: student.hidden[1].take_along_dim(order[:, :, None], dim=1)}
    expected = compared(GramFeatures(), mse, student, teacher, 1)
    shuffled = compared(GramFeatures(), mse, replace(student, hidden=hidden), teacher, 1)
    torch.testing.assert_close(shuffled, expected, atol=1e-9, rtol=1e-9)


def test_unequal_widths_need_a_projection() -> None:
    student, teacher = Shape(2, 8, 2, 3), Shape(4, 16, 4, 3)
    with pytest.raises(ImpossibleError, match=r"knowledge=gram_features .* choose projection=to_teacher"):
        GramFeatures().check(student, teacher, False)
    GramFeatures().check(student, teacher, True)
    with pytest.raises(KdbenchError, match=r"knowledge.view=cls is unknown: choose tokens or spans"):
        GramFeatures(view="cls")  # type: ignore[arg-type]
