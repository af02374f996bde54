"""The nearest sum of Kronecker products against the singular values that it leaves out."""

from __future__ import annotations

import pytest
import torch

from kdbench.kronecker.factors import Factors
from kdbench.kronecker.nearest import nearest, nearest_row, rearranged


def built(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return sum(torch.kron(left, right) for left, right in zip(a, b, strict=True))  # type: ignore[return-value]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_product_is_found_again() -> None:
    """Up to a number between its factors, which have the same norm then (checks 2 and 5)."""
    left, right = drawn(3, 5), drawn(4, 2, seed=1)
    a, b = nearest(torch.kron(left, right), Factors((3, 4), (5, 2)))
    torch.testing.assert_close(built(a, b), torch.kron(left, right), atol=1e-12, rtol=0)
    torch.testing.assert_close(a[0].norm(), b[0].norm())
    torch.testing.assert_close((a[0] / left).std(), torch.tensor(0.0, dtype=torch.float64), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("out", "into"), [((3, 4), (5, 2)), ((2, 6), (2, 5)), ((12, 1), (1, 10)), ((4, 3), (10, 1))])
def test_what_is_missed_are_the_other_singular_values(out: tuple[int, int], into: tuple[int, int]) -> None:
    """|W - sum|^2 = s_{R+1}^2 + ..., nothing once all are there; each factor has the root of its s."""
    matrix = drawn(out[0] * out[1], into[0] * into[1])
    factors = Factors(out, into)
    values = torch.linalg.svdvals(rearranged(matrix, factors))
    assert len(values) == factors.rank
    for sums in range(1, factors.rank + 1):
        a, b = nearest(matrix, Factors(out, into, sums))
        missed = (matrix - built(a, b)).square().sum()
        torch.testing.assert_close(missed, values[sums:].square().sum(), atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(a.flatten(1).norm(dim=1), values[:sums].sqrt(), atol=1e-10, rtol=0)


def test_columns_and_rows_make_the_truncated_decomposition() -> None:
    """With n1 = m2 = 1 a product is a column times a row (check 4)."""
    matrix = drawn(6, 7)
    a, b = nearest(matrix, Factors((6, 1), (1, 7), 3))
    left, values, right = torch.linalg.svd(matrix)
    torch.testing.assert_close(built(a, b), left[:, :3] * values[:3] @ right[:3])


def test_the_ranks_of_the_papers_shapes() -> None:
    assert Factors.of("kb8", (768, 768), (384, 384)).rank == 4
    assert Factors.of("kb8", (3072, 768), (8, 2)).rank == 16
    assert Factors.of("kb21", (768, 768), (384, 48)).rank == 32 == Factors.of("kb21", (3072, 768), (16, 2)).rank


def test_a_table_is_nearest_to_words_times_one_row() -> None:
    table = drawn(20, 12)
    a, b = nearest_row(table, 4)
    values = torch.linalg.svdvals(table.reshape(60, 4))
    missed = (table - torch.kron(a, b[None])).square().sum()
    torch.testing.assert_close(missed, values[1:].square().sum(), rtol=1e-9, atol=0)


def test_signs_do_not_depend_on_the_machine() -> None:
    a, _ = nearest(drawn(12, 10), Factors((3, 4), (5, 2), 2))
    largest = a.flatten(1).gather(1, a.flatten(1).abs().argmax(dim=1, keepdim=True))
    assert bool((largest > 0).all())
