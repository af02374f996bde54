"""Parts of a split keep their rows' tokens, labels and places."""

from __future__ import annotations

import numpy as np

from kdbench.data.split import Split


def ragged() -> Split:
    texts = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10]]
    offsets = np.cumsum([0, *map(len, texts)])
    tokens = np.concatenate([np.array(text) for text in texts])
    return Split(tokens, tokens % 2, offsets, np.array([0, -1, 1, -1]), np.array([10, 20, 30, 40]))


def test_taken_rows_keep_their_tokens_in_the_order_asked_for() -> None:
    part = ragged().take(np.array([3, 0]))
    assert part.tokens.tolist() == [7, 8, 9, 10, 1, 2, 3]
    assert part.types.tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert part.offsets.tolist() == [0, 4, 7]
    assert part.labels.tolist() == [-1, 0] and part.index.tolist() == [40, 10]


def test_taking_every_row_or_none_is_exact() -> None:
    whole = ragged()
    again = whole.take(np.arange(4))
    assert all(np.array_equal(getattr(whole, name), getattr(again, name)) for name in ("tokens", "offsets", "labels"))
    assert len(whole.take(np.array([], dtype=int))) == 0


def test_labelled_rows_of_classes_and_of_a_regression() -> None:
    assert ragged().labelled.tolist() == [True, False, True, False]
    values = Split(np.ones(2), np.ones(2), np.arange(3), np.array([0.5, np.nan], dtype=np.float32), np.arange(2))
    assert values.labelled.tolist() == [True, False]
