"""The sum of Kronecker products that is nearest to a matrix (Van Loan and Pitsianis 1993)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.kronecker.factors import Factors


def rearranged(matrix: Tensor, factors: Factors) -> Tensor:
    """The blocks of a matrix as rows, (m1 n1, m2 n2): a Kronecker product becomes vec(A) vec(B)', of rank one."""
    (m1, m2), (n1, n2) = factors.out, factors.into
    return matrix.reshape(m1, m2, n1, n2).transpose(1, 2).reshape(m1 * n1, m2 * n2)


def nearest(matrix: Tensor, factors: Factors) -> tuple[Tensor, Tensor]:
    """A (R, m1, n1) and B (R, m2, n2) with the least |W - sum_r A_r x B_r|, which is the root of the sum of the squared
    singular values of `rearranged` from the R-th on; both factors of a product have the same norm.

    The signs of a singular pair are free: here the largest element of A is positive. Computed in float64.

    Args:
        matrix: W, (m, n).
        factors: the shapes, and R.
    """
    (m1, m2), (n1, n2) = factors.out, factors.into
    left, values, right = _leading(rearranged(matrix.double(), factors), factors.sums)
    largest = left.gather(0, left.abs().argmax(dim=0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0)
    roots = values.sqrt() * signs
    a, b = (left * roots).T.reshape(-1, m1, n1), (right * roots).T.reshape(-1, m2, n2)
    return a.to(matrix.dtype), b.to(matrix.dtype)


def nearest_row(table: Tensor, shared: int) -> tuple[Tensor, Tensor]:
    """A (V, D / n) and one row B (n,) with the least |E - A x B|, for an embedding table E (V, D)."""
    words, width = table.shape
    factors = Factors((words, 1), (width // shared, shared))
    a, b = nearest(table, factors)
    return a[0], b[0, 0]


def _leading(matrix: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first singular triplets: columns (p, R), values (R,) and columns (q, R).

    By the eigenvectors of the smaller Gram matrix: one side of a rearranged matrix is short for every shape that
    compresses, and that of an embedding has a million rows.
    """
    if matrix.shape[0] < matrix.shape[1]:
        right, values, left = _leading(matrix.T, number)
        return left, values, right
    _, vectors = torch.linalg.eigh(matrix.T @ matrix)
    right = vectors.flip(1)[:, :number]
    scaled = matrix @ right
    singular = scaled.norm(dim=0)  # exact where the root of an eigenvalue is not
    return scaled / torch.where(singular > 0, singular, 1.0), singular, right
