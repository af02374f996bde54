"""The divergence over the likeliest scores against loops over plain numbers, and its two ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.objective.kl import kl
from kdbench.objective.top_kl import check, likeliest, top_kl


def tensors(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return student, teacher


def divergence(student: list[float], teacher: list[float], temperature: float) -> float:
    q, p = ([math.exp(score / temperature) for score in scores] for scores in (student, teacher))
    q, p = ([power / sum(powers) for power in powers] for powers in (q, p))
    return temperature**2 * sum(ours * math.log(ours / theirs) for ours, theirs in zip(p, q, strict=True))


def of_row(student: list[float], teacher: list[float], number: int, others: str, temperature: float) -> float:
    places = sorted(range(len(teacher)), key=lambda place: -teacher[place])[:number]
    if others == "teacher_min":
        flattened = [score if place in places else min(teacher) for place, score in enumerate(teacher)]
        return divergence(student, flattened, temperature)
    lowest = min(student[place] for place in places)
    above = [score - lowest for place, score in enumerate(student) if place not in places and score > lowest]
    own = divergence([student[place] for place in places], [teacher[place] for place in places], temperature)
    return own + (sum(above) / len(above) if above else 0.0)


@pytest.mark.parametrize("others", ["below", "teacher_min"])
@pytest.mark.parametrize("temperature", [1.0, 15.0])
@pytest.mark.parametrize(("top", "number"), [(0.5, 4), (0.01, 1), (3, 3), (99, 9)])
def test_every_option_equals_loops(others: str, temperature: float, top: float, number: int) -> None:
    student, teacher = tensors(5, 9)
    found = top_kl(student, teacher, None, top, others, temperature)  # type: ignore[arg-type]
    for sample in range(5):
        expected = of_row(student[sample].tolist(), teacher[sample].tolist(), number, others, temperature)
        assert found[sample].item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("others", ["below", "teacher_min"])
def test_all_scores_make_the_divergence(others: str) -> None:
    student, teacher = tensors(4, 3, 7)
    torch.testing.assert_close(top_kl(student, teacher, None, 1.0, others, 2.0), kl(student, teacher, None, 2.0))  # type: ignore[arg-type]


def test_a_student_with_its_others_below_learns_nothing_of_them() -> None:
    _, teacher = tensors(4, 7)
    assert top_kl(teacher, teacher, top=3).abs().max() < 1e-12
    student = torch.where(likeliest(teacher, torch.ones_like(teacher, dtype=torch.bool), 3), teacher, -50.0)
    student.requires_grad_()
    top_kl(student, teacher, top=3).sum().backward()
    assert student.grad is not None and student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("others", ["below", "teacher_min"])
def test_masked_scores_are_not_there(others: str) -> None:
    """The share is one of the valid scores, and the lowest is a valid one."""
    student, teacher = tensors(4, 8)
    more = torch.full((4, 3), 77.0, dtype=torch.float64)
    mask = torch.arange(11)[None] < 8
    padded = [torch.cat([scores, sign * more], dim=1) for scores, sign in ((student, 1), (teacher, -1))]
    found = top_kl(*padded, mask, 0.5, others)  # type: ignore[arg-type]
    torch.testing.assert_close(found, top_kl(student, teacher, None, 0.5, others))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top": 0}, "t.top=0 must be a number greater than 0"),
        ({"top": 2.5}, "t.top=2.5 must be a whole number"),
        ({"others": "hinge"}, "t.others=hinge is unknown: choose below or teacher_min"),
        ({"temperature": -1}, "t.temperature=-1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(KdbenchError) as refused:
        check("t", options)
    assert words in str(refused.value)
