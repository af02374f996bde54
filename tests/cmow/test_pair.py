"""Two texts of a row: which tokens are whose, and what their encodings become."""

from __future__ import annotations

import pytest
import torch

from kdbench.cmow.pair import PAIRS, cosine, diffcat, paired_width, texts_of
from kdbench.data.batch import Batch


def batch() -> Batch:
    """[CLS] a a [SEP] b [SEP], and a longer second text with no padding."""
    ids = torch.tensor([[1, 5, 6, 2, 7, 2, 0, 0], [1, 5, 2, 6, 7, 8, 9, 2]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1]])
    return Batch(ids, ids != 0, types, torch.tensor([0, 1]), torch.arange(2))


def test_the_separator_between_them_belongs_to_the_first() -> None:
    (first, of_first), (second, of_second) = texts_of(batch())
    assert [row[mask].tolist() for row, mask in zip(first, of_first, strict=True)] == [[1, 5, 6, 2], [1, 5, 2]]
    assert [row[mask].tolist() for row, mask in zip(second, of_second, strict=True)] == [[7, 2], [6, 7, 8, 9, 2]]
    assert first.shape[1] == 4 and second.shape[1] == 5, "as short as the longest text"
    assert bool(of_first[:, 0].all() and of_second[:, 0].all()), "from its first token on"


def test_the_release_leaves_them_where_they_are() -> None:
    (first, _), (second, _) = texts_of(batch(), padding_id=0)
    assert first.tolist()[0] == [1, 5, 6, 2, 0, 0, 0, 0]
    assert second.tolist()[0] == [0, 0, 0, 0, 7, 2, 0, 0]


def test_a_row_of_one_text_has_an_empty_second_one() -> None:
    alone = batch()
    alone = Batch(alone.input_ids, alone.attention_mask, alone.token_type_ids * 0, alone.labels, alone.index)
    (first, mask), (_, empty) = texts_of(alone)
    assert torch.equal(first, alone.input_ids) and torch.equal(mask, alone.attention_mask) and not empty.any()


@pytest.mark.parametrize("pair", PAIRS)
def test_the_width_is_as_said(pair: str) -> None:
    first, second = torch.randn(3, 5), torch.randn(3, 5)
    assert PAIRS[pair](first, second).shape == (3, paired_width(pair, 5))


def test_diffcat() -> None:
    first, second = torch.randn(3, 5), torch.randn(3, 5)
    both, swapped = diffcat(first, second), diffcat(second, first)
    assert torch.equal(diffcat(first, first), torch.cat([first, first, torch.zeros(3, 5)], dim=1))
    assert torch.equal(both[:, :5], swapped[:, 5:10]) and torch.equal(both[:, 5:10], swapped[:, :5])
    assert torch.equal(both[:, 10:], swapped[:, 10:])


def test_the_others_by_their_formulas() -> None:
    first, second = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    assert PAIRS["concat"](first, second).tolist() == [[3.0, 4.0, 4.0, 3.0]]
    assert PAIRS["hadamard"](first, second).tolist() == [[12.0, 12.0]]
    assert PAIRS["mean"](first, second).tolist() == [[3.5, 3.5]]
    torch.testing.assert_close(cosine(first, second), torch.tensor([[24.0 / 25.0]]))
