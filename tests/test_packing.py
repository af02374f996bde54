"""The way from padded to packed and back, against a loop over the tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdbench.packing import PAYS, Packing, pays

LENGTHS = [3, 1, 5, 2]
MASK = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
TOKENS = [(row, column) for row, length in enumerate(LENGTHS) for column in range(length)]


def padded(*rest: int) -> Tensor:
    """Numbers everywhere, at padding too."""
    return torch.randn(4, 5, *rest, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("rest", [(), (7,), (2, 3)])
def test_packed_are_the_real_tokens_row_by_row(rest: tuple[int, ...]) -> None:
    values = padded(*rest)
    packed = Packing.of(MASK).pack(values)
    assert packed.shape == (1, len(TOKENS), *rest)
    for found, (row, column) in zip(packed[0], TOKENS, strict=True):
        assert torch.equal(found, values[row, column])


@pytest.mark.parametrize("rest", [(), (7,), (2, 3)])
def test_unpacked_are_the_same_tokens_with_zeros_at_padding(rest: tuple[int, ...]) -> None:
    packing, values = Packing.of(MASK), padded(*rest)
    expected = torch.zeros_like(values)
    for row, column in TOKENS:
        expected[row, column] = values[row, column]
    assert torch.equal(packing.unpack(packing.pack(values)), expected)


def test_positions_and_first_tokens_are_those_of_the_rows() -> None:
    packing, values = Packing.of(MASK), padded(7)
    assert packing.positions.tolist() == [[column for _, column in TOKENS]]
    assert torch.equal(packing.first(packing.pack(values)), values[:, 0])


@pytest.mark.parametrize("mask", [torch.ones(3, 4, dtype=torch.bool), torch.tensor([[True]]), MASK[1:2]])
def test_a_batch_without_padding_or_with_one_row_is_packed_alike(mask: Tensor) -> None:
    packing = Packing.of(mask)
    values = torch.randn(*mask.shape, 2)
    assert torch.equal(packing.pack(values)[0], values[mask])
    assert torch.equal(packing.first(packing.pack(values)), values[:, 0])


def test_gradients_reach_real_tokens_alone() -> None:
    packing = Packing.of(MASK)
    values = padded(2).requires_grad_()
    weights = torch.arange(1.0, 1 + 2 * len(TOKENS), dtype=torch.float64).view(1, -1, 2)
    (packing.pack(values) * weights).sum().backward()
    assert torch.equal(values.grad, packing.unpack(weights))
    packed = packing.pack(padded(2)).requires_grad_()
    others = padded(2)
    (packing.unpack(packed) * others).sum().backward()
    assert torch.equal(packed.grad, packing.pack(others))


def test_half_precision_stays_so() -> None:
    packing = Packing.of(MASK)
    assert packing.unpack(packing.pack(padded(2).bfloat16())).dtype == torch.bfloat16


def test_a_packing_moves_with_its_batch() -> None:
    moved = Packing.of(MASK).to("meta")
    assert {moved.mask.device.type, moved.places.device.type} == {"meta"}


def test_packing_pays_above_its_number_of_places_a_token() -> None:
    assert [pays(places, 1000) for places in (1000, int(1000 * PAYS) - 1, int(1000 * PAYS) + 1)] == [False, False, True]
