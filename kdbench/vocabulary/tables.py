"""Which words a student has, and which of them stands for a word that it does not have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kdbench.error import KdbenchError

VERSION = 1
Substitute = Literal["dot", "cosine", "euclidean", "unknown"]
SUBSTITUTES = ("dot", "cosine", "euclidean", "unknown")
CHUNK = 1024
"""Removed words that are compared with all kept ones at once."""


@dataclass(frozen=True)
class Vocabulary:
    """The words with a row of their own.

    Attributes:
        rows: the row of each of the tokenizer's V words, (V,) int64: its own, or that of its substitute.
        words: the word of each row, (V',) int64.
    """

    rows: np.ndarray
    words: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Which words have a row of their own, (V,)."""
        found: np.ndarray = self.words[self.rows] == np.arange(len(self.rows))
        return found

    def save(self, folder: Path) -> None:
        """Write the two tables."""
        np.save(folder / "rows.npy", self.rows)
        np.save(folder / "words.npy", self.words)

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read what `save` wrote."""
        return cls(np.load(folder / "rows.npy"), np.load(folder / "words.npy"))


def rows_kept(keep: float, words: int, multiple: int) -> int:
    """V', the rows for a share of so many words (above 1: for that number), rounded up to a multiple.

    Tan et al. 2023 cut the share to a whole number first. A number that is no smaller than the words themselves means
    all of them.
    """
    count = int(keep * words) if keep <= 1 else int(keep)
    return min(words, math.ceil(count / multiple) * multiple)


def frequent(counts: np.ndarray, reserved: Sequence[int], rows: int) -> np.ndarray:
    """The words with a row, (rows,): the reserved ones first, then the others, each by falling count, then by id.

    Where every word has a row they stay in their own order, as without a choice.

    Raises:
        KdbenchError: more reserved words than rows.
    """
    if rows >= len(counts):
        return np.arange(len(counts), dtype=np.int64)
    if len(set(reserved)) > rows:
        raise KdbenchError(
            f"vocabulary.keep leaves {rows} words, fewer than the {len(set(reserved))} special and reserved ones: "
            "raise it"
        )
    first = np.isin(np.arange(len(counts)), list(reserved))
    order = np.lexsort((np.arange(len(counts)), -counts, ~first))
    return order[:rows].astype(np.int64)


def compressed(words: np.ndarray, embedding: Tensor, substitute: Substitute, unknown: int) -> Vocabulary:
    """The vocabulary of these words.

    Args:
        words: see `Vocabulary`.
        embedding: of all words, (V, D): a removed word is read as the kept word k with the highest score of u and k,
            which is u . k, its cosine, or -|u - k|^2; of equal ones the first row.
        substitute: the score, or `unknown` for the tokenizer's unknown word.
        unknown: its id.
    """
    rows = np.full(len(embedding), -1, dtype=np.int64)
    rows[words] = np.arange(len(words))
    removed = np.flatnonzero(rows < 0)
    if substitute == "unknown":
        rows[removed] = rows[unknown]
        return Vocabulary(rows, words)
    vectors = embedding.detach().float()
    if substitute == "cosine":
        vectors = functional.normalize(vectors, dim=1)
    kept = vectors[torch.from_numpy(words)]
    shift = kept.square().sum(dim=1) / 2 if substitute == "euclidean" else kept.new_zeros(len(kept))
    for some in np.array_split(removed, max(1, math.ceil(len(removed) / CHUNK))):
        # |u - k|^2 / 2 is |k|^2 / 2 - u . k, but for a number that is the same for every k.
        rows[some] = (vectors[torch.from_numpy(some)] @ kept.T - shift).argmax(dim=1).numpy()
    return Vocabulary(rows, words)
