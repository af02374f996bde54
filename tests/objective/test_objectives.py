"""Every objective against a reference written out from its equation, and the invariances it must have."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from kdbench.objective.cosine import cosine
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy

DISTRIBUTIONS = [kl, soft_cross_entropy]
PAIRWISE = [kl, soft_cross_entropy, mse, cosine]


def tensors(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("t_squared", [True, False])
def test_kl_and_soft_cross_entropy_equal_their_sums(temperature: float, t_squared: bool) -> None:
    student, teacher = tensors(3, 5)
    factor = temperature**2 if t_squared else 1.0
    for row, (divergence, entropy) in enumerate(
        zip(
            kl(student, teacher, None, temperature, t_squared),
            soft_cross_entropy(student, teacher, None, temperature, t_squared),
            strict=True,
        )
    ):
        p, q = softmax(teacher[row].numpy() / temperature), softmax(student[row].numpy() / temperature)
        assert divergence.item() == pytest.approx(factor * float((p * np.log(p / q)).sum()), abs=1e-12)
        assert entropy.item() == pytest.approx(factor * float(-(p * np.log(q)).sum()), abs=1e-12)


def test_kl_of_one_hot_against_uniform_is_the_log_of_the_classes() -> None:
    teacher = torch.tensor([[1e4, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert kl(torch.zeros(1, 4, dtype=torch.float64), teacher).item() == pytest.approx(math.log(4))


def test_kl_and_soft_cross_entropy_have_one_gradient() -> None:
    student, teacher = tensors(4, 6)
    student.requires_grad_()
    (left,) = torch.autograd.grad(kl(student, teacher, temperature=3.0).sum(), student)
    (right,) = torch.autograd.grad(soft_cross_entropy(student, teacher, temperature=3.0).sum(), student)
    torch.testing.assert_close(left, right, atol=1e-12, rtol=0)


def test_with_t_squared_the_gradient_tends_to_that_of_centred_logits() -> None:
    """Hinton et al. 2015, equation 4: the error falls as 1 / temperature."""
    student, teacher = tensors(1, 3)
    student.requires_grad_()
    limit = ((student - student.mean()) - (teacher - teacher.mean())) / 3
    errors = []
    for temperature in (10.0, 100.0, 1000.0):
        (gradient,) = torch.autograd.grad(kl(student, teacher, temperature=temperature).sum(), student)
        errors.append((gradient - limit).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.2)


def test_cross_entropy_leaves_unlabelled_rows_out() -> None:
    student, _ = tensors(3, 4)
    found = cross_entropy(student, torch.tensor([2, -1, 0]))
    for row, label in ((0, 2), (2, 0)):
        assert found[row].item() == pytest.approx(-math.log(softmax(student[row].numpy())[label]))
    assert found[1].item() == 0.0


def test_mse_of_a_regression_leaves_nan_labels_out_of_value_and_gradient() -> None:
    student = torch.tensor([[1.0], [5.0]], requires_grad=True)
    loss = mse(student, torch.tensor([3.0, float("nan")]))
    assert loss.tolist() == [4.0, 0.0]
    loss.sum().backward()
    assert student.grad is not None and student.grad.tolist() == [[-4.0], [0.0]]


def test_mse_is_the_mean_over_the_valid_elements() -> None:
    student, teacher = tensors(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = mse(student, teacher, mask[:, :, None])
    for row, length in enumerate((2, 1)):
        expected = ((student[row, :length] - teacher[row, :length]).numpy() ** 2).mean()
        assert found[row].item() == pytest.approx(expected, abs=1e-12)


def test_cosine_is_two_for_opposites_and_blind_to_length() -> None:
    student, teacher = tensors(2, 5)
    assert cosine(student, -3 * student).tolist() == pytest.approx([2.0, 2.0])
    torch.testing.assert_close(cosine(7 * student, teacher), cosine(student, 0.1 * teacher))
    pkd = ((student / student.norm(dim=-1, keepdim=True) - teacher / teacher.norm(dim=-1, keepdim=True)) ** 2).sum(-1)
    torch.testing.assert_close(2 * cosine(student, teacher), pkd)


@pytest.mark.parametrize("objective", [kl, mse, cosine])
def test_nothing_is_lost_between_equals(objective: Callable[..., Tensor]) -> None:
    student, _ = tensors(2, 3, 4)
    assert objective(student, student.clone()).abs().max().item() < 1e-12


@pytest.mark.parametrize("objective", PAIRWISE)
def test_hidden_states_added_padding_changes_nothing(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(2, 3, 4)
    mask = torch.tensor([[True, True, True], [True, True, False]])[:, :, None]
    garbage = torch.full((2, 5, 4), 1e3, dtype=torch.float64)
    padded = [torch.cat([tensor, sign * garbage], dim=1) for tensor, sign in ((student, 1), (teacher, -1))]
    longer = torch.cat([mask, torch.zeros(2, 5, 1, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(objective(student, teacher, mask), objective(*padded, longer), atol=1e-12, rtol=0)


@pytest.mark.parametrize("objective", PAIRWISE)
def test_attention_maps_added_padding_changes_neither_value_nor_gradient(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(2, 2, 3, 3)
    real = torch.tensor([[True, True, True], [True, True, False]])
    padding = torch.zeros(2, 2, dtype=torch.bool)

    def loss_and_gradient(left: Tensor, right: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        left = left.clone().requires_grad_()
        loss = objective(left, right, tokens[:, None, :, None] & tokens[:, None, None, :])
        loss.sum().backward()
        assert left.grad is not None
        return loss.detach(), left.grad

    loss, gradient = loss_and_gradient(student, teacher, real)
    wide = [
        torch.nn.functional.pad(tensor, (0, 2, 0, 2), value=value)
        for tensor, value in ((student, 50.0), (teacher, -50.0))
    ]
    wide_loss, wide_gradient = loss_and_gradient(*wide, torch.cat([real, padding], dim=1))
    torch.testing.assert_close(loss, wide_loss, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient, wide_gradient[:, :, :3, :3], atol=1e-12, rtol=0)
    assert wide_gradient[:, :, 3:].abs().max() == 0 and wide_gradient[:, :, :, 3:].abs().max() == 0


@pytest.mark.parametrize("objective", DISTRIBUTIONS)
def test_a_sample_without_a_valid_element_gives_zero_not_nan(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(1, 3, 4)
    student.requires_grad_()
    loss = objective(student, teacher, torch.zeros(1, 3, 1, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert student.grad is not None and torch.isfinite(student.grad).all()
