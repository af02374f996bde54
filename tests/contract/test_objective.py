"""Every objective: one loss a sample, finite, never negative unless it says so, blind to padding, and it teaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.config import compares, instantiate

Option = Callable[[str, str], Any]


def of_classes(objective: str, option: Option) -> bool:
    """Whether the teacher's side is class ids, (B,), without positions that could be padded."""
    return compares(option("objective", objective)) == {"classes"}


def inputs(classes: bool, *shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
    if classes:
        return student, torch.arange(shape[0]) % shape[-1]
    return student, torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


def shapes(classes: bool) -> list[tuple[int, ...]]:
    return [(4, 3)] if classes else [(4, 3), (4, 5, 3), (4, 2, 5, 5)]


def test_one_finite_loss_a_sample_that_teaches(objective: str, option: Option) -> None:
    called = instantiate(option("objective", objective))
    may_be_negative = "negative" in (called.func.__doc__ or "")
    classes = of_classes(objective, option)
    for shape in shapes(classes):
        student, teacher = inputs(classes, *shape)
        loss = called(student, teacher)
        assert loss.shape == (4,) and bool(loss.isfinite().all())
        assert may_be_negative or loss.min() >= 0
        loss.sum().backward()
        assert student.grad is not None and bool(student.grad.isfinite().all())
        assert bool(student.grad.reshape(4, -1).any(dim=1).all()), "every sample teaches"


def test_samples_do_not_mix(objective: str, option: Option) -> None:
    called = instantiate(option("objective", objective))
    classes = of_classes(objective, option)
    for shape in shapes(classes):
        student, teacher = inputs(classes, *shape)
        alone = torch.cat([called(student[row : row + 1], teacher[row : row + 1]) for row in range(4)])
        torch.testing.assert_close(called(student, teacher), alone, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("garbage", [0.0, 1e3])
def test_masked_tokens_change_nothing(objective: str, garbage: float, option: Option) -> None:
    """Hidden states (B, S, D) under a mask (B, S, 1), and maps (B, H, S, S) under one of token pairs."""
    if of_classes(objective, option):
        return
    called = instantiate(option("objective", objective))
    tokens = torch.tensor([5, 4, 2, 1])[:, None] > torch.arange(5)
    for shape, mask in (
        ((4, 5, 3), tokens[:, :, None]),
        ((4, 2, 5, 5), tokens[:, None, :, None] & tokens[:, None, None, :]),
    ):
        student, teacher = (side.detach() for side in inputs(False, *shape))
        noisy = torch.where(mask, student, student + garbage), torch.where(mask, teacher, teacher - garbage)
        torch.testing.assert_close(called(*noisy, mask), called(student, teacher, mask), atol=1e-10, rtol=1e-10)


def test_a_sample_without_a_valid_element_loses_nothing(objective: str, option: Option) -> None:
    if of_classes(objective, option):
        return
    called = instantiate(option("objective", objective))
    student, teacher = inputs(False, 4, 5, 3)
    mask = torch.zeros(4, 5, 1, dtype=torch.bool)
    loss = called(student, teacher, mask)
    assert loss.tolist() == [0.0] * 4
    loss.sum().backward()
    assert student.grad is not None and not bool(student.grad.any())
