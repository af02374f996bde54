"""Labels and logits of spans: two distributions over the tokens of a row, in which padding has no part."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.head import ABSENT
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.outputs import ModelOutputs
from kdbench.shape import Shape

LENGTHS, LABELS = (5, 3), torch.tensor([[1, 3], [0, 0]])


def outputs(seed: int, more: int = 0) -> ModelOutputs:
    mask = torch.arange(5 + more)[None] < torch.tensor(LENGTHS)[:, None]
    drawn = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits = torch.nn.functional.pad(drawn, (0, more)).masked_fill(~mask[:, None], ABSENT)
    return ModelOutputs(mask=mask, labels=LABELS, logits=logits)


def rows(values: ModelOutputs) -> list[list[Tensor]]:
    """The two distributions of each row, over its own tokens."""
    assert values.logits is not None
    return [[values.logits[row, end, :length] for end in range(2)] for row, length in enumerate(LENGTHS)]


def test_labels_are_two_classes_a_row_among_its_tokens() -> None:
    student = outputs(0)
    found = Label().distance(cross_entropy, student.logits, LABELS, student.mask)
    expected = [
        sum(-scores.log_softmax(-1)[place] for scores, place in zip(ends, LABELS[row], strict=True)) / 2
        for row, ends in enumerate(rows(student))
    ]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("objective", [kl, soft_cross_entropy, mse], ids=lambda function: function.__name__)
def test_logits_are_compared_over_the_tokens_alone(objective: Callable[..., Tensor]) -> None:
    knowledge = Logits()
    losses = []
    for more in (0, 4):
        student, teacher = outputs(0, more), outputs(1, more)
        losses.append(knowledge.distance(objective, student.logits, teacher.logits, student.mask))
    torch.testing.assert_close(losses[0], losses[1])
    pairs = zip(rows(outputs(0)), rows(outputs(1)), strict=True)
    expected = [
        torch.stack([objective(ours[None], theirs[None])[0] for ours, theirs in zip(*ends, strict=True)]).mean()
        for ends in pairs
    ]
    torch.testing.assert_close(losses[0], torch.stack(expected))


def test_a_shift_of_classes_is_refused() -> None:
    shape = Shape(2, 8, 2, 2, spans=True)
    with pytest.raises(ImpossibleError, match=r"but a span has none: set knowledge\.probability_shift=false"):
        Logits(probability_shift=True).check(shape, shape, False)
