"""The tools with which objectives leave padding out."""

from __future__ import annotations

import pytest
import torch

from kdbench.masking import full_precision, labelled, lengths, log_softmax, per_sample, rows, unit

MASK = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])


def test_half_precision_alone_is_raised() -> None:
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32)):
        assert full_precision(torch.zeros(1, dtype=dtype)).dtype == expected
    for dtype in (torch.float32, torch.float64, torch.int64):
        values = torch.zeros(1, dtype=dtype)
        assert full_precision(values) is values


def test_a_sample_without_a_valid_element_has_0() -> None:
    values = torch.arange(9.0).reshape(3, 3)
    assert per_sample(values, MASK).tolist() == [0.5, 3.0, 0.0]
    assert per_sample(values, MASK, "sum").tolist() == [1.0, 3.0, 0.0]
    assert per_sample(values, None).tolist() == [1.0, 4.0, 7.0]
    assert per_sample(values, None, "sum").tolist() == [3.0, 12.0, 21.0]


def test_a_mask_of_rows_is_spread_over_their_elements() -> None:
    values = torch.ones(3, 3, 4)
    assert per_sample(values, MASK[:, :, None]).tolist() == [1.0, 1.0, 0.0]
    assert per_sample(values, MASK[:, :, None], "sum").tolist() == [8.0, 4.0, 0.0]


def test_lengths_count_valid_elements_and_never_0() -> None:
    values = torch.zeros(3, 3, 3)
    assert lengths(values, None) == 3
    assert lengths(values, MASK[:, :, None]) == 3, "a row is whole or left out"
    found = lengths(values, MASK[:, :, None] & MASK[:, None, :])
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [[2, 2, 1], [1, 1, 1], [1, 1, 1]]


def test_rows_are_valid_where_any_element_is() -> None:
    assert rows(None) is None
    found = rows(MASK[:, :, None] & MASK[:, None, :])
    assert found is not None and torch.equal(found, MASK)


def test_masked_elements_have_no_probability() -> None:
    found = log_softmax(torch.tensor([[1.0, 2.0, 1e30], [5.0, 1e30, -1e30], [1.0, 2.0, 3.0]]), MASK).exp()
    torch.testing.assert_close(found[0], torch.cat([torch.tensor([1.0, 2.0]).softmax(0), torch.zeros(1)]))
    assert found[1].tolist() == [1.0, 0.0, 0.0]
    assert found[2].tolist() == pytest.approx([1 / 3] * 3), "an empty row is even, and finite"


def test_unit_rows_have_length_1_over_their_valid_elements() -> None:
    values = torch.tensor([[3.0, 4.0, 100.0], [-2.0, 9.0, 9.0], [1.0, 1.0, 1.0]], requires_grad=True)
    found = unit(values, MASK)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    found.sum().backward()
    assert values.grad is not None and values.grad.isfinite().all() and not values.grad[2].any()
    assert not unit(torch.ones(1, 4), least=3.0).any(), "shorter than the least has no direction"


def test_labels_that_are_missing_are_masked() -> None:
    student, teacher, mask = labelled(torch.tensor([[1.0], [2.0]]), torch.tensor([5.0, float("nan")]))
    assert student.shape == teacher.shape == mask.shape == (2, 1)
    assert mask.tolist() == [[True], [False]] and teacher.tolist() == [[5.0], [0.0]]
