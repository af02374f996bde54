"""The swap of a wrong top class with the gold one."""

from __future__ import annotations

import pytest
import torch

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.logits import Logits
from kdbench.outputs import ModelOutputs
from kdbench.shape import Shape

LOGITS = torch.tensor([[1.0, 5.0, 3.0], [4.0, 2.0, 1.0], [0.0, 2.0, 7.0], [6.0, 1.0, 6.0]])


def side(*labels: int) -> ModelOutputs:
    return ModelOutputs(torch.ones(4, 2, dtype=torch.bool), logits=LOGITS, labels=torch.tensor(labels))


def test_a_wrong_top_class_swaps_its_logit_with_the_gold_class() -> None:
    shifted = Logits(probability_shift=True).target(side(0, 0, 1, 2), 0)
    assert shifted.tolist() == [[5.0, 1.0, 3.0], [4.0, 2.0, 1.0], [0.0, 7.0, 2.0], [6.0, 1.0, 6.0]]


def test_a_row_without_a_label_and_a_right_one_stay_as_they_are() -> None:
    torch.testing.assert_close(Logits(probability_shift=True).target(side(1, 0, -1, 0), 0), LOGITS, atol=0, rtol=0)


def test_only_the_teacher_is_shifted_and_only_where_it_is_asked_for() -> None:
    assert Logits(probability_shift=True).extract(side(0, 0, 1, 2), 0) is LOGITS
    assert Logits().target(side(0, 0, 1, 2), 0) is LOGITS


def test_what_has_no_classes_to_swap_is_refused() -> None:
    regression = Shape(2, 8, 2, 1)
    with pytest.raises(ImpossibleError, match=r"set knowledge.probability_shift=false"):
        Logits(probability_shift=True).check(regression, regression, False)
    Logits().check(regression, regression, False)
    with pytest.raises(KdbenchError, match=r"knowledge.probability_shift=1 must be true or false"):
        Logits(probability_shift=1)  # type: ignore[arg-type]
