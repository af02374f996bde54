"""Shapes of Kronecker factors, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kdbench.error import ImpossibleError

Order = Literal["a_first", "b_first"]


@dataclass(frozen=True)
class Factors:
    """A matrix (m, n) as a sum of Kronecker products, W = sum_r A_r x B_r with A (m1, n1) and B (m2, n2).

    Block (i, j) of one product is A_ij B, so that m = m1 m2 and n = n1 n2 (Tahaei et al. 2022, section 3.1).

    Attributes:
        out: m1, m2.
        into: n1, n2.
        sums: how many products are added up.
    """

    out: tuple[int, int]
    into: tuple[int, int]
    sums: int = 1

    @classmethod
    def of(cls, key: str, matrix: tuple[int, int], first: tuple[int, int], sums: int = 1) -> Factors:
        """The factors of a matrix (m, n) whose A has the shape `first`, (m1, n1), which divides it.

        Args:
            key: what a refusal names: a key and its value.

        Raises:
            ImpossibleError: more products than the matrix can need.
        """
        found = cls((first[0], matrix[0] // first[0]), (first[1], matrix[1] // first[1]), sums)
        if sums > found.rank:
            raise ImpossibleError(
                f"{key} with sums={sums}: {found.rank} products make any such matrix: set student.factors.sums to "
                f"{found.rank} or less"
            )
        return found

    @property
    def rank(self) -> int:
        """The number of products that makes any matrix of this shape exactly."""
        return min(self.out[0] * self.into[0], self.out[1] * self.into[1])

    @property
    def parameters(self) -> int:
        """Numbers in all factors, without a bias."""
        (m1, m2), (n1, n2) = self.out, self.into
        return self.sums * (m1 * n1 + m2 * n2)

    def flops(self, order: Order) -> int:
        """Multiplications and additions of one product for one token (Tahaei et al. 2022, eq. 7)."""
        (m1, m2), (n1, n2) = self.out, self.into
        if order == "b_first":
            return (2 * n2 - 1) * m2 * n1 + (2 * n1 - 1) * m2 * m1
        return (2 * n1 - 1) * n2 * m1 + (2 * n2 - 1) * m2 * m1

    @property
    def order(self) -> Order:
        """Which side of a product is cheaper to multiply first; of equal ones the larger, which is faster."""
        m1, m2 = self.out
        orders: tuple[Order, Order] = ("a_first", "b_first") if m1 >= m2 else ("b_first", "a_first")
        return min(orders, key=self.flops)
