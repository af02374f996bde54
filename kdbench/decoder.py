"""The last linear map of a model that predicts words, and what it was given at some places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

PIECE = 128
"""Words whose part of a sum over all is made in float32, or whose gradient is made in float64, at once."""


@dataclass(frozen=True)
class Decoder:
    """From the inputs of the vocabulary head, (..., D), to the scores of V words.

    Attributes:
        weight: (V, D), mostly the word embedding itself.
        bias: (V,).
        words: of a compressed vocabulary, the tokenizer's word of each row, (V,); None: it is the row's number.
        rows: of a compressed vocabulary, the row that stands for each of the tokenizer's words.
    """

    weight: Tensor
    bias: Tensor | None = None
    words: Tensor | None = None
    rows: Tensor | None = None
    _last_cut: list[tuple[Tensor | None, Decoder]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Vocabulary logits, (..., V)."""
        return functional.linear(inputs, self.weight, self.bias)

    def of_words(self, words: Tensor) -> Decoder:
        """The decoder of these rows alone, in this order."""
        return Decoder(self.weight[words], None if self.bias is None else self.bias[words])

    def beside(self, other: Decoder) -> Decoder:
        """This decoder with the words of another, in its order; a word without a row has that of its substitute. The
        last one is kept for the next time."""
        if other.words is None and self.rows is None:
            return self
        if not self._last_cut or self._last_cut[0][0] is not other.words:
            every = torch.arange(len(self.weight if self.rows is None else self.rows), device=self.weight.device)
            rows = self.row_of(every if other.words is None else other.words)
            self._last_cut[:] = [(other.words, self.of_words(rows))]
        return self._last_cut[0][1]

    def row_of(self, words: Tensor) -> Tensor:
        """The rows that stand for words of the tokenizer."""
        return words if self.rows is None else self.rows[words]

    def word_of(self, rows: Tensor) -> Tensor:
        """The tokenizer's words of rows."""
        return rows if self.words is None else self.words[rows]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Decoder:
        """The same decoder on another device, or with numbers of another kind; itself if it is there already."""
        weight = self.weight.to(device=device, dtype=dtype)
        if weight is self.weight:
            return self
        bias = None if self.bias is None else self.bias.to(device=device, dtype=dtype)
        words, rows = (None if table is None else table.to(device=device) for table in (self.words, self.rows))
        return Decoder(weight, bias, words, rows)

    @cached_property
    def gram(self) -> Tensor:
        """The products of the columns, (D, D) in float64: for weights that do not change."""
        with torch.no_grad():
            return gram(self.weight, self.weight)


@dataclass(frozen=True)
class Words:
    """What a model says of the word at each of N places, one product before the V scores that nobody may want to hold.

    A place belongs to a sample of the batch, and counts in that sample's loss by its share.
    """

    inputs: Tensor  # (N, D)
    decoder: Decoder
    samples: Tensor  # (N,) int64
    shares: Tensor  # (N,)
    batch: int  # samples in all, with or without a place

    def beside(self, other: Words) -> Words:
        """The same places with the scores of another model's words alone."""
        return replace(self, decoder=self.decoder.beside(other.decoder))

    @property
    def logits(self) -> Tensor:
        """(N, V): all of them at once."""
        return self.decoder(self.inputs)

    def per_sample(self, weighed: Tensor) -> Tensor:
        """The places' losses times their shares, (N,), as one of each sample, (B,); 0 of a sample without places."""
        return weighed.new_zeros(self.batch).index_add(0, self.samples, weighed)


def gram(left: Tensor, right: Tensor) -> Tensor:
    """left' right over all words, (V, D) and (V, E) -> (D, E), float32 pieces added up in float64."""
    found = left.new_zeros(left.shape[1], right.shape[1], dtype=torch.float64)
    for words in pieces(left):
        found += left[words].T @ right[words]
    return found


def pieces(weight: Tensor) -> Iterator[slice]:
    """The rows of a decoder, some at a time."""
    for first in range(0, len(weight), PIECE):
        yield slice(first, first + PIECE)
