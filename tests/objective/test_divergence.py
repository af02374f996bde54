"""KL and soft cross-entropy against loops over plain numbers, their compatibility with released code, and extremes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.objective.kl import check, kl
from kdbench.objective.soft_cross_entropy import check as check_soft
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.temperature.flsw import flsw

BOTH = pytest.mark.parametrize("objective", [kl, soft_cross_entropy])
MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [True, True, True]])


def tensors(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def distribution(scores: list[float], temperature: float) -> list[float]:
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def of_row(objective: Callable[..., Tensor], student: list[float], teacher: list[float], temperature: float) -> float:
    q, p = distribution(student, temperature), distribution(teacher, temperature)
    if objective is kl:
        return sum(ours * (math.log(ours) - math.log(theirs)) for ours, theirs in zip(p, q, strict=True))
    return sum(-ours * math.log(theirs) for ours, theirs in zip(p, q, strict=True))


@BOTH
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("t_squared", [True, False])
@pytest.mark.parametrize("per_class", [True, False])
def test_every_option_equals_loops_over_tokens(
    objective: Callable[..., Tensor], temperature: float, t_squared: bool, per_class: bool
) -> None:
    student, teacher = tensors(4, 3, 5)
    found = objective(student, teacher, MASK[:, :, None], temperature, t_squared, per_class)
    for sample in range(4):
        places = [place for place in range(3) if MASK[sample, place]]
        total = 0.0
        for place in places:
            total += of_row(objective, student[sample, place].tolist(), teacher[sample, place].tolist(), temperature)
        expected = total / len(places) * (temperature**2 if t_squared else 1.0) / (5 if per_class else 1)
        assert found[sample].item() == pytest.approx(expected, abs=1e-6, rel=1e-12)


@BOTH
def test_maps_of_token_pairs_equal_loops_over_the_real_keys(objective: Callable[..., Tensor]) -> None:
    """Released code that means elementwise divides a row's divergence by its length."""
    student, teacher = tensors(4, 2, 3, 3)
    pairs = MASK[:, None, :, None] & MASK[:, None, None, :]
    whole, divided = objective(student, teacher, pairs), objective(student, teacher, pairs, per_class=True)
    for sample in range(4):
        length = int(MASK[sample].sum())
        total = 0.0
        for head in range(2):
            for query in range(length):
                left, right = (side[sample, head, query, :length].tolist() for side in (student, teacher))
                total += of_row(objective, left, right, 1.0)
        assert whole[sample].item() == pytest.approx(total / (2 * length), abs=1e-6)
        assert divided[sample].item() * length == pytest.approx(whole[sample].item(), abs=1e-12)


@BOTH
@pytest.mark.parametrize("words", [4, 97])
def test_per_class_times_the_vocabulary_is_the_token_mean(objective: Callable[..., Tensor], words: int) -> None:
    student, teacher = tensors(4, 3, words)
    compatible = objective(student, teacher, MASK[:, :, None], per_class=True)
    torch.testing.assert_close(compatible * words, objective(student, teacher, MASK[:, :, None]), atol=1e-12, rtol=0)


@BOTH
def test_logits_at_padded_targets_change_nothing(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(4, 3, 5)
    moved = torch.where(MASK[:, :, None], student, 1e6), torch.where(MASK[:, :, None], teacher, -1e6)
    for per_class in (False, True):
        found = objective(*moved, MASK[:, :, None], per_class=per_class)
        assert torch.equal(found, objective(student, teacher, MASK[:, :, None], per_class=per_class))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_of_equals_the_divergence_is_0_and_the_cross_entropy_the_entropy(temperature: float) -> None:
    _, teacher = tensors(4, 5)
    entropies = [-sum(share * math.log(share) for share in distribution(row, temperature)) for row in teacher.tolist()]
    found = soft_cross_entropy(teacher, teacher.clone(), temperature=temperature, t_squared=False)
    assert found.tolist() == pytest.approx(entropies, abs=1e-6)
    assert kl(teacher, teacher.clone(), temperature=temperature).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_cross_entropy_less_entropy_is_the_divergence_and_their_gradients_are_one(temperature: float) -> None:
    student, teacher = tensors(4, 5)
    student.requires_grad_()
    options = {"temperature": temperature, "t_squared": False}
    entropy = soft_cross_entropy(teacher, teacher, **options)
    divergence = kl(student, teacher, **options)
    torch.testing.assert_close(soft_cross_entropy(student, teacher, **options) - entropy, divergence)
    assert divergence.min() >= 0
    (left,) = torch.autograd.grad(divergence.sum(), student)
    (right,) = torch.autograd.grad(soft_cross_entropy(student, teacher, **options).sum(), student)
    torch.testing.assert_close(left, right, atol=1e-12, rtol=0)


@BOTH
def test_at_high_temperature_the_gradient_is_the_difference_of_the_centred_logits(
    objective: Callable[..., Tensor],
) -> None:
    """Hinton et al. 2015, section 2.1, with T^2: (s - t) / C once the means are taken away, up to about 1 / T."""
    student, teacher = tensors(4, 5)
    student.requires_grad_()
    apart = student.detach() - teacher
    limit = (apart - apart.mean(dim=1, keepdim=True)) / 5
    errors = []
    for temperature in (100.0, 1000.0):
        loss = objective(student, teacher, temperature=temperature, t_squared=True).sum()
        (gradient,) = torch.autograd.grad(loss, student)
        errors.append(float((gradient - limit).abs().max()))
    assert errors[0] < 0.05 and errors[1] / errors[0] == pytest.approx(0.1, rel=0.05)


@BOTH
def test_a_shift_of_a_row_and_an_order_of_classes_change_nothing(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(4, 5)
    expected = objective(student, teacher, temperature=2.0)
    shifts = torch.tensor([[100.0], [-3.0], [0.5], [7.0]], dtype=torch.float64)
    torch.testing.assert_close(objective(student + shifts, teacher - 2 * shifts, temperature=2.0), expected)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(objective(student[:, order], teacher[:, order], temperature=2.0), expected)


@BOTH
def test_scaling_both_sides_is_a_temperature(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(4, 5)
    colder = objective(student, teacher, temperature=0.25, t_squared=False)
    torch.testing.assert_close(objective(4 * student, 4 * teacher, t_squared=False), colder)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_logits_stay_finite(objective: Callable[..., Tensor], dtype: torch.dtype) -> None:
    student, teacher = (1e5 * side.to(dtype) for side in tensors(4, 3, 5))
    student.requires_grad_()
    for mask in (None, MASK[:, :, None], MASK[:, :, None] & torch.tensor([True, True, False, True, True])):
        loss = objective(student, teacher, mask, temperature=0.1, t_squared=False)
        student.grad = None
        loss.sum().backward()
        assert loss.dtype == torch.float32 and loss.isfinite().all()
        assert student.grad is not None and student.grad.isfinite().all()


@BOTH
def test_a_row_of_one_element_says_nothing(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(4, 3, 1)
    assert objective(student, teacher).tolist() == [0.0] * 4
    student, teacher = tensors(1, 1, 3, 3)
    first = torch.tensor([True, False, False])
    found = objective(student, teacher, first[None, None, :, None] & first[None, None, None, :], per_class=True)
    assert found.tolist() == [0.0]


@BOTH
def test_temperatures_of_rows_are_each_rows_own(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(4, 3, 5)
    samples = torch.tensor([0.5, 1.0, 2.0, 8.0], dtype=torch.float64)
    apart = [objective(student[row : row + 1], teacher[row : row + 1], None, float(samples[row])) for row in range(4)]
    torch.testing.assert_close(objective(student, teacher, None, samples), torch.cat(apart))
    tokens = samples[:, None] * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    found = objective(student, teacher, MASK[:, :, None], tokens)
    for sample in range(4):
        places = [place for place in range(3) if MASK[sample, place]]
        losses = [
            objective(
                student[sample : sample + 1, place], teacher[sample : sample + 1, place], None, float(temperature)
            )
            for place, temperature in ((place, tokens[sample, place]) for place in places)
        ]
        assert found[sample].item() == pytest.approx(sum(loss.item() for loss in losses) / len(places))


@BOTH
def test_an_adaptive_temperature_is_the_number_that_it_gives(objective: Callable[..., Tensor]) -> None:
    student, teacher = tensors(4, 5)
    student.requires_grad_()
    adaptive = partial(flsw, base=3.0, beta=2.0)
    given = adaptive(student, teacher, None)
    (left,) = torch.autograd.grad(objective(student, teacher, None, adaptive).sum(), student)
    (right,) = torch.autograd.grad(objective(student, teacher, None, given).sum(), student)
    assert len(set(given.tolist())) == 4 and not given.requires_grad
    torch.testing.assert_close(left, right, atol=0, rtol=0)


@pytest.mark.parametrize("refuse", [check, check_soft])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": 0.0}, r"^o\.temperature=0\.0 must be a number greater than 0"),
        ({"temperature": "hot"}, r"^o\.temperature=hot must be"),
        ({"temperature": {"base": 3.0}}, r"^o\.temperature=.* is no temperature: .*\+temperature@o\.temperature=flsw"),
        ({"t_squared": 2}, r"^o\.t_squared=2 must be true or false"),
        ({"per_class": "yes"}, r"^o\.per_class=yes must be true or false"),
    ],
)
def test_options_out_of_range_are_refused(refuse: Callable[..., None], options: dict, sentence: str) -> None:
    whole = {"temperature": 1.0, "t_squared": True, "per_class": False}
    refuse("o", whole)
    with pytest.raises(KdbenchError, match=sentence) as caught:
        refuse("o", {**whole, **options})
    assert "\n" not in str(caught.value)
