"""MSE with its options, smooth L1 and Pearson against loops over plain numbers, and the invariances they have."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.objective import mse as mse_module
from kdbench.objective import smooth_l1 as smooth_l1_module
from kdbench.objective.cosine import cosine
from kdbench.objective.mse import mse
from kdbench.objective.pearson import pearson
from kdbench.objective.smooth_l1 import smooth_l1
from kdbench.term_config import compares

MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [False, True, False]])
PKD = partial(mse, l2_norm=True, reduction="sum")


def tensors(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def rows_of(student: Tensor, teacher: Tensor, sample: int) -> list[tuple[list[float], list[float]]]:
    return [(student[sample, p].tolist(), teacher[sample, p].tolist()) for p in range(3) if MASK[sample, p]]


@pytest.mark.parametrize("l2_norm", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("teacher_scale", "temperature"), [(1.0, 1.0), (0.3, 1.0), (1.0, 2.0), (0.3, 2.0)])
def test_mse_equals_loops(l2_norm: bool, reduction: Any, teacher_scale: float, temperature: float) -> None:
    student, teacher = tensors(4, 3, 5)
    found = mse(student, teacher, MASK[:, :, None], l2_norm, teacher_scale, temperature, reduction)
    for sample in range(4):
        squares = []
        for left, right in rows_of(student, teacher, sample):
            lengths = [math.sqrt(sum(x * x for x in side)) if l2_norm else 1.0 for side in (left, right)]
            for x, y in zip(left, right, strict=True):
                squares.append((x / lengths[0] / temperature - teacher_scale * y / lengths[1] / temperature) ** 2)
        expected = sum(squares) / (len(squares) if reduction == "mean" else 1)
        assert found[sample].item() == pytest.approx(expected, abs=1e-6, rel=1e-12)


def test_mse_normalises_over_the_valid_elements_of_a_row() -> None:
    student, teacher = tensors(4, 2, 3, 3)
    pairs = MASK[:, None, :, None] & MASK[:, None, None, :]
    found = PKD(student, teacher, pairs)
    for sample, length in ((0, 3), (1, 2)):
        cut = student[sample : sample + 1, :, :length, :length], teacher[sample : sample + 1, :, :length, :length]
        assert found[sample].item() == pytest.approx(PKD(*cut).item(), abs=1e-12)


def test_pkd_is_twice_the_cosine_distance_and_blind_to_scale() -> None:
    student, teacher = tensors(4, 6)
    for row, found in enumerate(PKD(student, teacher)):
        left, right = student[row].tolist(), teacher[row].tolist()
        product = sum(x * y for x, y in zip(left, right, strict=True))
        angle = product / math.sqrt(sum(x * x for x in left)) / math.sqrt(sum(y * y for y in right))
        assert found.item() == pytest.approx(2 - 2 * angle, abs=1e-6)
    torch.testing.assert_close(PKD(student, teacher), 2 * cosine(student, teacher))
    torch.testing.assert_close(PKD(100 * student, 0.01 * teacher), PKD(student, teacher))


@pytest.mark.parametrize("options", [{"reduction": "sum"}, {"teacher_scale": 0.5}, {"temperature": 2.0}])
def test_mse_of_labels_takes_every_option(options: dict[str, Any]) -> None:
    student = torch.tensor([[1.0], [5.0]], requires_grad=True)
    loss = mse(student, torch.tensor([3.0, float("nan")]), **options)
    expected = (1 - 3 * options.get("teacher_scale", 1.0)) ** 2 / options.get("temperature", 1.0) ** 2
    assert loss.tolist() == pytest.approx([expected, 0.0])
    loss.sum().backward()
    assert student.grad is not None and student.grad.isfinite().all() and student.grad[1] == 0


def test_normalised_values_are_not_compared() -> None:
    """A single value would become 1 or -1, whatever the student says."""
    node = {"_target_": "kdbench.objective.mse.mse"}
    assert compares(node) - compares({**node, "l2_norm": True}) == {"values"}
    student = torch.tensor([[1.5], [-2.0]], requires_grad=True)
    mse(student, torch.tensor([[1.0], [1.0]]), l2_norm=True).sum().backward()
    assert student.grad is not None and student.grad.abs().max() < 1e-6


@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0])
def test_smooth_l1_equals_loops_and_its_labels_too(beta: float) -> None:
    student, teacher = tensors(4, 3, 5)
    found = smooth_l1(student, teacher, MASK[:, :, None], beta)

    def of(d: float) -> float:
        return d * d / (2 * beta) if abs(d) < beta else abs(d) - beta / 2

    for sample in range(4):
        values = [
            of(x - y) for left, right in rows_of(student, teacher, sample) for x, y in zip(left, right, strict=True)
        ]
        assert found[sample].item() == pytest.approx(sum(values) / len(values), abs=1e-6)
    labels = smooth_l1(torch.tensor([[1.0], [5.0]]), torch.tensor([3.0, float("nan")]), beta=beta)
    assert labels.tolist() == pytest.approx([of(-2.0), 0.0])


def test_an_outlier_pulls_no_harder_than_its_sign_in_smooth_l1() -> None:
    student = torch.tensor([[1000.0, 0.5]], dtype=torch.float64, requires_grad=True)
    smooth_l1(student, torch.zeros(1, 2, dtype=torch.float64)).sum().backward()
    assert student.grad is not None and student.grad.tolist() == [[0.5, 0.25]]


def correlation(left: list[float], right: list[float]) -> float:
    x, y = ([value - sum(side) / len(side) for value in side] for side in (left, right))
    product = sum(a * b for a, b in zip(x, y, strict=True))
    return product / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def test_pearson_equals_loops() -> None:
    student, teacher = tensors(4, 3, 5)
    found = pearson(student, teacher, MASK[:, :, None])
    for sample in range(4):
        values = [1 - correlation(*pair) for pair in rows_of(student, teacher, sample)]
        assert found[sample].item() == pytest.approx(sum(values) / len(values), abs=1e-6)


def test_pearson_of_token_pairs_leaves_masked_keys_out_of_mean_and_length() -> None:
    student, teacher = tensors(4, 1, 3, 3)
    found = pearson(student, teacher, MASK[:, None, :, None] & MASK[:, None, None, :])
    whole = [1 - correlation(student[0, 0, q].tolist(), teacher[0, 0, q].tolist()) for q in range(3)]
    pair = [1 - correlation(student[1, 0, q, :2].tolist(), teacher[1, 0, q, :2].tolist()) for q in range(2)]
    assert found.tolist() == pytest.approx([sum(whole) / 3, sum(pair) / 2, 0.0, 0.0], abs=1e-6)


def test_pearson_is_blind_to_shift_scale_and_order_and_is_2_for_opposites() -> None:
    student, teacher = tensors(4, 5)
    expected = pearson(student, teacher)
    torch.testing.assert_close(pearson(3 * student + 7, 0.1 * teacher - 2), expected)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(pearson(student[:, order], teacher[:, order]), expected)
    torch.testing.assert_close(pearson(student, 5 - student), torch.full((4,), 2.0, dtype=torch.float64))
    assert pearson(student, 2 * student + 1).abs().max() < 1e-12


def test_pearson_of_two_classes_is_flat() -> None:
    """Why it asks for three: two points always lie on a line."""
    student, teacher = tensors(4, 2)
    student.requires_grad_()
    loss = pearson(student, teacher)
    loss.sum().backward()
    assert all(min(abs(value), abs(value - 2)) < 1e-12 for value in loss.tolist())
    assert student.grad is not None and student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e4])
def test_a_constant_row_has_no_correlation_and_no_gradient(dtype: torch.dtype, constant: float) -> None:
    student = torch.full((2, 7), constant, dtype=dtype, requires_grad=True)
    teacher = torch.stack([torch.full((7,), 3.3), torch.arange(7.0)]).to(dtype)
    loss = pearson(student, teacher)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.0, 0.5], abs=1e-6)
    assert student.grad is not None and not student.grad.any()


@pytest.mark.parametrize("objective", [mse, PKD, smooth_l1, pearson, cosine])
@pytest.mark.parametrize("shape", [(2, 1), (2, 3, 1)])
def test_a_row_of_one_element_is_finite(objective: Callable[..., Tensor], shape: tuple[int, ...]) -> None:
    student, teacher = tensors(*shape)
    student.requires_grad_()
    loss = objective(student, teacher)
    loss.sum().backward()
    assert loss.isfinite().all() and student.grad is not None and student.grad.isfinite().all()


@pytest.mark.parametrize("objective", [PKD, pearson])
def test_a_zero_vector_gets_no_gradient(objective: Callable[..., Tensor]) -> None:
    student = torch.zeros(2, 4, requires_grad=True)
    loss = objective(student, torch.arange(8.0).reshape(2, 4))
    loss.sum().backward()
    assert loss.isfinite().all() and student.grad is not None and not student.grad.any()


@pytest.mark.parametrize(
    ("module", "options", "sentence"),
    [
        (mse_module, {"l2_norm": 1}, r"^o\.l2_norm=1 must be true or false"),
        (mse_module, {"teacher_scale": "phi"}, r"^o\.teacher_scale=phi must be a number"),
        (mse_module, {"temperature": 0}, r"^o\.temperature=0 must be a number greater than 0"),
        (mse_module, {"temperature": {"_target_": "x"}}, r"^o\.temperature=.* must be a number greater than 0"),
        (mse_module, {"reduction": "max"}, r"^o\.reduction=max is unknown: choose mean or sum"),
        (smooth_l1_module, {"beta": 0.0}, r"^o\.beta=0\.0 must be a number greater than 0"),
    ],
)
def test_options_out_of_range_are_refused(module: Any, options: dict[str, Any], sentence: str) -> None:
    module.check("o", {})
    with pytest.raises(KdbenchError, match=sentence):
        module.check("o", options)
