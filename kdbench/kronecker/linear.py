"""A linear map as a sum of Kronecker products, multiplied without ever making its matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdbench.kronecker.factors import Factors


class KroneckerLinear(nn.Module):
    """y = (sum_r A_r x B_r) x + b, in the order of the two products that takes fewer operations.

    With X the input as n1 rows of n2 numbers, A x B takes it to A X B' (row-major form of Tahaei et al. 2022, eq. 6).
    The products of a sum share two matrix products: the factors lie side by side, in the order that lets the second
    product read what the first one left.

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
        return found.reshape(*values.shape[:-1], self.out_features)

    def _b_first(self, rows: Tensor) -> Tensor:
        """(N, n1, n2) -> (N, m1, m2): X B_r' for all r at once, then [A_1 ... A_R] over what they gave."""
        (m1, m2), (n1, n2) = self.factors.out, self.factors.into
        sums = self.factors.sums
        if m2 < m1:  # a small B: its result is turned, so that A has long rows to multiply
            a, b = self.a.transpose(0, 1).reshape(m1, sums * n1), self.b.transpose(0, 1).reshape(m2 * sums, n2)
            inner = _turned((rows.reshape(-1, n2) @ b.T).view(-1, n1, m2 * sums)).reshape(-1, m2, sums * n1)
            return _turned(self._biased(inner @ a.T, turned=True))
        a, b = self.a.permute(1, 2, 0).reshape(m1, n1 * sums), self.b.reshape(sums * m2, n2)
        inner = (rows.reshape(-1, n2) @ b.T).view(-1, n1 * sums, m2)
        return self._biased(_of_each(a, rows).bmm(inner))

    def _a_first(self, rows: Tensor) -> Tensor:
        """(N, n1, n2) -> (N, m1, m2): A_r X for all r at once, then over what they gave [B_1 ... B_R]."""
        (m1, m2), (n1, n2) = self.factors.out, self.factors.into
        sums = self.factors.sums
        a, b = self.a.transpose(0, 1).reshape(m1 * sums, n1), self.b.transpose(1, 2).reshape(sums * n2, m2)
        if n1 <= n2:  # a small A is multiplied row by row
            inner = _of_each(a, rows).bmm(rows)
        else:
            inner = _turned((_turned(rows).reshape(-1, n1) @ a.T).view(-1, n2, m1 * sums))
        inner = inner.reshape(-1, m1, sums * n2)
        return self._biased(inner.bmm(_of_each(b, rows)) if m2 <= m1 else inner @ b)

    def _biased(self, product: Tensor, turned: bool = False) -> Tensor:
        """The product, (N, m1, m2) or turned (N, m2, m1), with the bias added in place.

        Nothing else reads it, and a second tensor of its size costs as much time. It must not be a view, since autograd
        copies the whole gradient of a view that was changed in place.
        """
        if self.bias is None:
            return product
        bias = self.bias.view(self.factors.out)
        return product.add_(bias.T.contiguous() if turned else bias)

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


def _turned(matrices: Tensor) -> Tensor:
    """(N, a, b) -> (N, b, a), lying in that order.

    A shuffle of channels that lie last is this permutation, and on a processor twice as fast as a transposed copy.
    """
    number, a, b = matrices.shape
    channels = matrices.reshape(1, number, 1, a * b).permute(0, 3, 1, 2)
    return nn.functional.channel_shuffle(channels, a).permute(0, 2, 3, 1).reshape(number, b, a)
