"""The way from padded to packed and back, and attention on the way, against loops over the tokens and the rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdbench.packing import PARTS, PAYS, Packing, pays

LENGTHS = [3, 1, 5, 2, 5, 4]
ORDER = [2, 4, 5, 0, 3, 1]  # the longest first, equal ones as they come
MASK = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
TOKENS = [(row, column) for row in ORDER for column in range(LENGTHS[row])]


def padded(*rest: int, seed: int = 0) -> Tensor:
    """Numbers everywhere, at padding too."""
    return torch.randn(6, 5, *rest, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("rest", [(), (7,), (2, 3)])
def test_packed_are_the_real_tokens_of_the_longest_row_then_the_next(rest: tuple[int, ...]) -> None:
    values = padded(*rest)
    packed = Packing.of(MASK).whole.pack(values)
    assert packed.shape == (1, len(TOKENS), *rest)
    for found, (row, column) in zip(packed[0], TOKENS, strict=True):
        assert torch.equal(found, values[row, column])


@pytest.mark.parametrize("rest", [(), (7,), (2, 3)])
def test_unpacked_are_the_same_tokens_with_zeros_at_padding(rest: tuple[int, ...]) -> None:
    whole, values = Packing.of(MASK).whole, padded(*rest)
    expected = torch.zeros_like(values)
    for row, column in TOKENS:
        expected[row, column] = values[row, column]
    assert torch.equal(whole.unpack(whole.pack(values)), expected)


def test_positions_and_first_tokens_are_those_of_the_rows() -> None:
    packing, values = Packing.of(MASK), padded(7)
    assert packing.positions.tolist() == [[column for _, column in TOKENS]]
    assert torch.equal(packing.first(packing.whole.pack(values)), values[:, 0])


@pytest.mark.parametrize("mask", [torch.ones(3, 4, dtype=torch.bool), torch.tensor([[True]]), MASK[1:2]])
def test_a_batch_without_padding_or_with_one_row_is_packed_alike(mask: Tensor) -> None:
    packing = Packing.of(mask)
    values = torch.randn(*mask.shape, 2)
    assert torch.equal(packing.whole.pack(values)[0].sort(0)[0], values[mask].sort(0)[0])
    assert torch.equal(packing.first(packing.whole.pack(values)), values[:, 0])


def test_gradients_reach_real_tokens_alone() -> None:
    whole = Packing.of(MASK).whole
    values = padded(2).requires_grad_()
    weights = torch.arange(1.0, 1 + 2 * len(TOKENS), dtype=torch.float64).view(1, -1, 2)
    (whole.pack(values) * weights).sum().backward()
    assert torch.equal(values.grad, whole.unpack(weights))
    packed = whole.pack(padded(2)).requires_grad_()
    others = padded(2)
    (whole.unpack(packed) * others).sum().backward()
    assert torch.equal(packed.grad, whole.pack(others))


def test_parts_hold_rows_of_like_length_and_behind_each_other_the_packed_tokens() -> None:
    packing = Packing.of(MASK)
    assert len(packing.parts) == PARTS
    assert [part.mask.sum(dim=1).tolist() for part in packing.parts] == [[5, 5], [4, 3], [2], [1]]
    assert [part.mask.shape[1] for part in packing.parts] == [5, 4, 2, 1]
    packed = packing.whole.pack(padded(2))
    pieces = packed.split([len(part.places) for part in packing.parts], dim=1)
    for part, piece in zip(packing.parts, pieces, strict=True):
        assert torch.equal(part.pack(part.unpack(piece)), piece)
        assert torch.equal(part.unpack(piece)[part.mask], piece[0])


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    weights = (query @ key.transpose(-1, -2)).masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return (weights @ value).transpose(1, 2)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [2, 0], [1]])
def test_tokens_attend_within_their_row(rows: list[int]) -> None:
    packing = Packing.of(MASK[rows])
    sides = [padded(2, 3, seed=seed)[rows] for seed in (1, 2, 3)]
    found = packing.whole.unpack(packing.attended(attend, *(packing.whole.pack(side) for side in sides)))
    for place, row in enumerate(rows):
        alone = [side[place, : LENGTHS[row]].transpose(0, 1) for side in sides]  # (H, tokens, d)
        expected = (alone[0] @ alone[1].transpose(-1, -2)).softmax(dim=-1) @ alone[2]
        torch.testing.assert_close(found[place, : LENGTHS[row]], expected.transpose(0, 1))
        assert not found[place, LENGTHS[row] :].any()


def test_half_precision_stays_so() -> None:
    whole = Packing.of(MASK).whole
    assert whole.unpack(whole.pack(padded(2).bfloat16())).dtype == torch.bfloat16


def test_a_packing_moves_with_its_batch() -> None:
    moved = Packing.of(MASK).to("meta")
    tensors = [moved.firsts, *(tensor for form in (moved.whole, *moved.parts) for tensor in (form.mask, form.places))]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_packing_pays_above_its_number_of_places_a_token() -> None:
    assert [pays(places, 1000) for places in (1000, int(1000 * PAYS) - 1, int(1000 * PAYS) + 1)] == [False, False, True]
