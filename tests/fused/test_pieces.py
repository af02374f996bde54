"""Pieces cover every real token's scores once, hold no more than they may, and waste little."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdbench.fused import pieces as module
from kdbench.fused.pieces import Piece, pieces


def prefixes(*lengths: int) -> Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def scores(piece: Piece, heads: int) -> int:
    return len(piece.examples) * len(range(heads)[piece.heads]) * piece.length**2


@pytest.mark.parametrize("most", [1, 100, 1000, 10**6])
@pytest.mark.parametrize("wasted", [0, 200, 10**6])
@pytest.mark.parametrize("heads", [1, 3, 12])
def test_every_head_of_every_example_is_in_one_piece(
    heads: int, wasted: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED", most)
    monkeypatch.setattr(module, "WASTED", wasted)
    monkeypatch.setattr(module, "SHORTEST", 1)
    lengths = (3, 9, 1, 9, 0, 8, 3)
    seen = []
    for piece in pieces(prefixes(*lengths), heads):
        found = [lengths[example] for example in piece.examples]
        assert piece.length == max(found) and piece.padded == (min(found) < piece.length)
        assert heads * sum(piece.length**2 - length**2 for length in found) <= wasted
        assert scores(piece, heads) <= max(most, piece.length**2), "a single map is not cut"
        seen += [(example, head) for example in piece.examples for head in range(heads)[piece.heads]]
    assert sorted(seen) == [(example, head) for example in range(7) if lengths[example] for head in range(heads)]


def test_short_rows_are_one_piece_and_a_long_one_is_several() -> None:
    short = list(pieces(prefixes(*[16] * 32), 12))
    assert short == [Piece(list(range(32)), slice(0, 32), 16, False)]
    long = list(pieces(prefixes(128), 48))
    assert [piece.heads.start for piece in long] == [0, 16, 32]


def test_tokens_need_not_be_a_prefix() -> None:
    tokens = torch.zeros(2, 25, dtype=torch.bool)
    tokens[0, [1, 19]] = True
    tokens[1, :20] = True
    assert list(pieces(tokens, 1)) == [Piece([0, 1], slice(0, module.CACHED // 800), 20, True)]


@pytest.mark.parametrize(("tokens", "length"), [(40, 16), (7, 7)])
def test_pieces_are_not_shorter_than_a_processor_likes_where_the_batch_is_not(tokens: int, length: int) -> None:
    (piece,) = pieces(torch.nn.functional.pad(prefixes(5, 3), (0, tokens - 5)), 2)
    assert (piece.length, piece.padded) == (length, True)


def test_a_batch_without_tokens_has_no_piece() -> None:
    assert list(pieces(torch.zeros(2, 3, dtype=torch.bool), 4)) == []
