"""The task head on a layer's output: what it says, and with what it is compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.logit_lens import LogitLens
from kdbench.matching.pairing import Pairing
from kdbench.objective.kl import kl
from kdbench.outputs import ModelOutputs, Taps
from kdbench.projection.identity import Identity
from kdbench.shape import Shape
from kdbench.term import Term

Outputs = Callable[..., ModelOutputs]


def test_a_layer_meets_the_same_reading_of_its_partner_or_the_final_answer(outputs: Outputs) -> None:
    student, teacher = outputs(1), outputs(2)
    for target, expected in (("lens", teacher.lens[2]), ("final", teacher.logits)):
        term = Term("lens", LogitLens(target), kl, Pairing([(1, 2)]), Identity(0, 0, [], []))  # type: ignore[arg-type]
        assert expected is not None
        torch.testing.assert_close(term(student, teacher), kl(student.lens[1], expected), atol=0, rtol=0)


def test_the_final_answer_is_captured_only_where_it_is_read() -> None:
    assert LogitLens().taps([1, 2]) == Taps(lens=frozenset({1, 2}))
    assert LogitLens("final").taps([1]) == Taps(lens=frozenset({1}))
    assert LogitLens("final").target_taps([1]) == Taps(logits=True)
    assert LogitLens().target_taps([1]) == LogitLens().taps([1])


def test_logits_have_no_width_to_map() -> None:
    shapes = Shape(2, 8, 2, 3), Shape(4, 16, 4, 3)
    LogitLens().check(*shapes, False)
    with pytest.raises(ImpossibleError, match=r"choose projection=identity"):
        LogitLens().check(*shapes, True)
    with pytest.raises(KdbenchError, match=r"knowledge.target=first is unknown: choose lens or final"):
        LogitLens("first")  # type: ignore[arg-type]
