"""A linear map as a sum of Kronecker products, multiplied without ever making its matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdbench.kronecker.factors import Factors


class KroneckerLinear(nn.Module):
    """y = (sum_r A_r x B_r) x + b, in the order of the two products that takes fewer operations.

    With X the input as n1 rows of n2 numbers, A x B takes it to A X B' (row-major form of Tahaei et al. 2022, eq. 6).
    The products of a sum share two matrix products: the factors that come first lie side by side, as do the others.

    Args:
        factors: the shapes.
        bias: whether there is one; it is not factored.
    """

    def __init__(self, factors: Factors, bias: bool = True) -> None:
        super().__init__()
        (m1, m2), (n1, n2) = factors.out, factors.into
        self.factors, self.order = factors, factors.order
        self.a = nn.Parameter(torch.empty(factors.sums, m1, n1))
        self.b = nn.Parameter(torch.empty(factors.sums, m2, n2))
        self.bias = nn.Parameter(torch.zeros(m1 * m2)) if bias else None
        self.reset_parameters()

    @property
    def in_features(self) -> int:
        """n."""
        return math.prod(self.factors.into)

    @property
    def out_features(self) -> int:
        """m."""
        return math.prod(self.factors.out)

    def reset_parameters(self, deviation: float = 0.02) -> None:
        """Random factors whose sum of products has elements of that standard deviation; no bias."""
        each = math.sqrt(deviation / math.sqrt(self.factors.sums))
        nn.init.normal_(self.a, std=each)
        nn.init.normal_(self.b, std=each)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, values: Tensor) -> Tensor:
        """(..., n) -> (..., m)."""
        rows = values.reshape(-1, *self.factors.into)
        found = self._b_first(rows) if self.order == "b_first" else self._a_first(rows)
        if self.bias is not None:
            # In place, since nothing else reads what a product gave, and a second tensor of this size costs as much
            # time; before any view of it, since autograd copies the gradient of a view that was changed in place.
            found.add_(self.bias.view(self.factors.out))
        return found.reshape(*values.shape[:-1], self.out_features)

    def _b_first(self, rows: Tensor) -> Tensor:
        """(N, n1, n2) -> (N, m1, m2): X B_r' for all r at once, then [A_1 ... A_R] over what they gave."""
        (m1, m2), (n1, n2) = self.factors.out, self.factors.into
        sums = self.factors.sums
        a, b = self.a.transpose(0, 1).reshape(m1, sums * n1), self.b.reshape(sums * m2, n2)
        if m2 < m1:  # a small B is multiplied row by row, so that what it gives lies as A wants it
            inner = _of_each(b, rows).bmm(rows.transpose(1, 2))  # (N, R m2, n1)
            inner = inner.view(-1, sums, m2, n1).transpose(1, 2).reshape(-1, sums * n1)
            return (inner @ a.T).view(-1, m2, m1).transpose(1, 2).contiguous()
        inner = (rows.reshape(-1, n2) @ b.T).view(-1, n1, sums, m2)
        return _of_each(a, rows).bmm(inner.transpose(1, 2).reshape(-1, sums * n1, m2))

    def _a_first(self, rows: Tensor) -> Tensor:
        """(N, n1, n2) -> (N, m1, m2): A_r X for all r at once, then over what they gave [B_1 ... B_R]."""
        (m1, m2), (n1, n2) = self.factors.out, self.factors.into
        sums = self.factors.sums
        a, b = self.a.reshape(sums * m1, n1), self.b.transpose(1, 2).reshape(sums * n2, m2)
        if n1 <= n2:  # a small A likewise
            inner = _of_each(a, rows).bmm(rows).view(-1, sums, m1, n2).transpose(1, 2)
        else:
            inner = (rows.transpose(1, 2).reshape(-1, n1) @ a.T).view(-1, n2, sums, m1).permute(0, 3, 2, 1)
        if m2 <= m1:
            return inner.reshape(-1, m1, sums * n2).bmm(_of_each(b, rows))
        return inner.reshape(-1, m1, sums * n2) @ b

    def matrix(self) -> Tensor:
        """The matrix itself, (m, n): for tests and for other libraries, never for a pass."""
        return torch.einsum("rij,rkl->ikjl", self.a, self.b).reshape(self.out_features, self.in_features)

    def extra_repr(self) -> str:
        """Sizes for a reader."""
        (m1, m2), (n1, n2) = self.factors.out, self.factors.into
        return f"{self.factors.sums} x ({m1}, {n1}) x ({m2}, {n2}), {self.order}"


def _of_each(matrix: Tensor, rows: Tensor) -> Tensor:
    """The same matrix for each of the rows, (N, ...), without a copy."""
    return matrix.expand(rows.shape[0], -1, -1)
