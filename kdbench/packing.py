"""A batch on its real tokens alone: where they stand in its padded form, and the way from one form to the other.

Packed, the B rows of a batch lie behind each other as one row of all T real tokens, (1, T, ...). What treats every
token by itself (embeddings, linear maps, norms, dropout) is run on that; attention, where the tokens of a row meet, on
the padded form (B, S, ...).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PAYS = 1.15
"""Places per real token above which a training batch is packed; below, going to and fro costs what is saved
(docs/padding.md). Dropout draws other masks for a packed batch: a change of this number raises `kdbench.plan.VERSION`.
"""

MODEL_TYPES = frozenset({"bert"})
"""The Hugging Face encoders that run packed batches: those whose task head can be put on a first token by itself
(`Encoder.read_out`) and whose positions count from 0. Every other model takes the same batch in its padded form."""


@dataclass(frozen=True)
class Packing:
    """Where the real tokens of a padded batch stand; every row has one at least, and its padding behind them."""

    mask: Tensor  # (B, S) bool, true on real tokens
    places: Tensor  # (T,) int64: each real token's place among all B S, row by row

    @classmethod
    def of(cls, mask: Tensor) -> Packing:
        """The packing of a batch with that mask."""
        return cls(mask, mask.flatten().nonzero()[:, 0])

    def to(self, device: torch.device | str) -> Packing:
        """The same packing on another device."""
        return Packing(self.mask.to(device, non_blocking=True), self.places.to(device, non_blocking=True))

    @property
    def positions(self) -> Tensor:
        """Each token's place in its row, counted from 0: (1, T)."""
        return (self.places % self.mask.shape[1])[None]

    def pack(self, padded: Tensor) -> Tensor:
        """The real tokens of a padded tensor: (B, S, ...) -> (1, T, ...)."""
        return padded.flatten(0, 1).index_select(0, self.places)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """The padded form, with zeros at padding: (1, T, ...) -> (B, S, ...)."""
        padded = packed.new_zeros(self.mask.numel(), *packed.shape[2:])
        return padded.index_copy(0, self.places, packed[0]).unflatten(0, self.mask.shape)

    def first(self, packed: Tensor) -> Tensor:
        """The first token of every row: (1, T, ...) -> (B, ...)."""
        lengths = self.mask.sum(dim=1)
        return packed[0].index_select(0, lengths.cumsum(0) - lengths)


def pays(places: int, tokens: int) -> bool:
    """Whether a batch of so many places, `tokens` of them real, is worth packing."""
    return places > PAYS * tokens
