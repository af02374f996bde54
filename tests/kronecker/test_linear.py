"""The factored map and embedding against the matrices that they stand for."""

from __future__ import annotations

import pytest
import torch

from kdbench.error import ImpossibleError
from kdbench.kronecker.choice import FactorChoice
from kdbench.kronecker.embedding import KroneckerEmbedding
from kdbench.kronecker.factors import Factors
from kdbench.kronecker.linear import KroneckerLinear

SHAPES = [
    ((3, 4), (5, 2), 1),
    ((3, 4), (5, 2), 3),
    ((6, 1), (1, 7), 1),
    ((1, 8), (1, 6), 1),
    ((8, 1), (6, 1), 1),
    ((2, 6), (6, 2), 4),
    ((2, 6), (3, 4), 2),
    ((4, 2), (5, 2), 3),
    ((4, 2), (2, 5), 3),
]


@pytest.mark.parametrize("order", ["a_first", "b_first"])
@pytest.mark.parametrize(("out", "into", "sums"), SHAPES)
def test_the_factored_path_is_the_matrix(out: tuple[int, int], into: tuple[int, int], sums: int, order: str) -> None:
    """Values and gradients, in either order (check 1)."""
    torch.manual_seed(0)
    layer = KroneckerLinear(Factors(out, into, sums)).double()
    layer.order = order  # type: ignore[assignment]
    torch.nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    values = torch.randn(4, 3, layer.in_features, dtype=torch.float64, requires_grad=True)
    dense = sum(torch.kron(a, b) for a, b in zip(layer.a, layer.b, strict=True))
    torch.testing.assert_close(layer.matrix(), dense, atol=1e-12, rtol=0)
    expected = values @ dense.T + layer.bias
    found = layer(values)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    wanted = [values, layer.a, layer.b]
    upstream = torch.randn_like(found)
    for ours, theirs in zip(torch.autograd.grad((found * upstream).sum(), wanted),
                            torch.autograd.grad((expected * upstream).sum(), wanted), strict=True):  # fmt: skip
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("out", "into", "sums"), SHAPES)
def test_the_order_is_the_cheaper_one(out: tuple[int, int], into: tuple[int, int], sums: int) -> None:
    factors = Factors(out, into, sums)
    (m1, m2), (n1, n2) = out, into
    costs = {
        "b_first": (2 * n2 - 1) * m2 * n1 + (2 * n1 - 1) * m2 * m1,
        "a_first": (2 * n1 - 1) * n2 * m1 + (2 * n2 - 1) * m2 * m1,
    }
    assert {name: factors.flops(name) for name in costs} == costs  # type: ignore[arg-type]
    assert costs[factors.order] == min(costs.values())


def test_a_scale_may_move_from_one_factor_to_the_other() -> None:
    torch.manual_seed(0)
    layer, values = KroneckerLinear(Factors((3, 4), (5, 2), 2)).double(), torch.randn(3, 10, dtype=torch.float64)
    before = layer(values)
    with torch.no_grad():
        layer.a *= 4.0
        layer.b /= 4.0
    torch.testing.assert_close(layer(values), before)


def test_dense_layers_are_two_of_its_shapes() -> None:
    """A whole with B of one number, and B whole with A of one."""
    torch.manual_seed(0)
    values = torch.randn(5, 6, dtype=torch.float64)
    for factors, part in ((Factors((4, 1), (6, 1)), "a"), (Factors((1, 4), (1, 6)), "b")):
        layer = KroneckerLinear(factors, bias=False).double()
        whole, one = (layer.a, layer.b) if part == "a" else (layer.b, layer.a)
        torch.testing.assert_close(layer(values), values @ (whole[0] * one[0]).T)


@pytest.mark.parametrize(
    ("out", "into", "head"),
    [((384, 2), (384, 2), 64), ((384, 2), (48, 16), 64), ((6, 2), (5, 3), 4), ((6, 4), (2, 3), 8)],
    ids=["kb8", "kb21", "m2 of 2", "m2 of 4"],
)
@pytest.mark.parametrize("sums", [1, 2])
def test_all_heads_share_one_factor(out: tuple[int, int], into: tuple[int, int], head: int, sums: int) -> None:
    """Where m2 divides a head, its rows are those of as many rows of A as it has B in it (check 7): what the map gives
    for the head is told by these and by the B of all."""
    torch.manual_seed(0)
    (m1, m2), (n1, n2) = out, into
    layer = KroneckerLinear(Factors(out, into, sums), bias=False).double()
    values, per_head = torch.randn(3, n1 * n2, dtype=torch.float64), head // m2
    found = layer(values)
    for number in {0, m1 // per_head // 2, m1 // per_head - 1}:
        own = layer.a[:, number * per_head : (number + 1) * per_head]
        rows = sum(torch.kron(a, b) for a, b in zip(own, layer.b, strict=True))
        torch.testing.assert_close(layer.matrix()[number * head : (number + 1) * head], rows)
        torch.testing.assert_close(found[:, number * head : (number + 1) * head], values @ rows.T)


def test_an_embedding_is_its_table_and_its_head() -> None:
    """Check 6: a row is a product, a word's own, and a tied head contracts the shared row first."""
    torch.manual_seed(0)
    embedding = KroneckerEmbedding(9, 12, 4).double()
    words = torch.tensor([[0, 3], [8, 3]])
    table = torch.kron(embedding.table.weight, embedding.b[None])
    torch.testing.assert_close(embedding.matrix(), table)
    torch.testing.assert_close(embedding(words), table[words])
    inputs = torch.randn(2, 5, 12, dtype=torch.float64)
    scores = embedding.contracted(inputs) @ embedding.table.weight.T
    torch.testing.assert_close(scores, inputs @ table.T)
    with torch.no_grad():
        embedding.table.weight[3] += 1.0
    changed = (embedding.matrix() != table).any(dim=1)
    assert changed.tolist() == [word == 3 for word in range(9)]


def test_an_embedding_that_shares_one_number_is_dense() -> None:
    embedding = KroneckerEmbedding(5, 6, 1)
    with torch.no_grad():
        embedding.b.fill_(1.0)
    words = torch.arange(5)
    torch.testing.assert_close(embedding(words), embedding.table(words), atol=0, rtol=0)


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(
        ImpossibleError, match=r"attention\.a=\[5, 2\]: 5 does not divide the 12 rows of the map 12 x 8"
    ):
        FactorChoice(attention={"a": [5, 2]}).of("attention", (12, 8))
    with pytest.raises(ImpossibleError, match=r"\.a=\[6, 4\] with sums=5: 4 products make .*: set .* to 4 or less"):
        FactorChoice(attention={"a": [6, 4]}, sums=5).of("attention", (12, 8))
    with pytest.raises(ImpossibleError, match="has no 5 equal parts"):
        KroneckerEmbedding(4, 12, 5)
