"""A batch on its real tokens alone: where they stand in its padded form, and the way from one form to the other.

Packed, the B rows of a batch lie behind each other as one row of all T real tokens, (1, T, ...). What treats every
token by itself (embeddings, linear maps, norms, dropout) is run on that. Attention, where the tokens of a row meet,
needs rows padded to one length: since its cost grows with the square of that, rows of like length attend together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

PAYS = 1.15
"""Places per real token above which a training batch is packed; below, going to and fro costs what is saved
(docs/padding.md). Dropout draws other masks for a packed batch: a change of this number or of `PARTS` raises
`kdbench.content.VERSION`."""

PARTS = 4
"""Groups of rows that attend together."""

MODEL_TYPES = frozenset({"bert"})
"""The Hugging Face encoders that run packed batches: those whose task head can be put on a first token by itself
(`Encoder.read_out`) and whose positions count from 0. Every other model takes the same batch in its padded form."""

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(query, key, value, mask) -> what they attend to: three (B, H, S, d) and (B, 1, 1, S) -> (B, S, H, d)."""


@dataclass(frozen=True)
class Padded:
    """Rows filled up to one length: which places hold real tokens, and in which order these are packed."""

    mask: Tensor  # (B, S) bool, true on real tokens
    places: Tensor  # (T,) int64: each packed token's place among all B S

    def pack(self, padded: Tensor) -> Tensor:
        """The real tokens: (B, S, ...) -> (1, T, ...)."""
        return padded.flatten(0, 1).index_select(0, self.places)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """The padded form, with zeros at padding: (1, T, ...) -> (B, S, ...)."""
        padded = packed.new_zeros(self.mask.numel(), *packed.shape[2:])
        return padded.index_copy(0, self.places, packed[0]).view(*self.mask.shape, *packed.shape[2:])

    def to(self, device: torch.device | str) -> Padded:
        """The same on another device."""
        return Padded(self.mask.to(device, non_blocking=True), self.places.to(device, non_blocking=True))


@dataclass(frozen=True)
class Packing:
    """A batch's real tokens in the order of its rows' lengths, the longest row first.

    Attributes:
        whole: the batch as it is padded.
        parts: its rows in groups of like length, each padded to its own longest; behind each other they hold the packed
            tokens in their order.
        firsts: where each row's first token stands among the packed ones, (B,).
    """

    whole: Padded
    parts: tuple[Padded, ...]
    firsts: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> Packing:
        """The packing of a batch with that mask, whose rows have one real token at least and padding behind them."""
        lengths, order = mask.sum(dim=1).sort(descending=True, stable=True)
        rows, columns = mask[order].nonzero(as_tuple=True)
        firsts = torch.empty_like(order)
        firsts[order] = lengths.cumsum(0) - lengths
        parts = []
        for some in torch.tensor_split(lengths, min(PARTS, len(lengths))):
            tokens = torch.arange(int(some[0]), device=mask.device) < some[:, None]
            parts.append(Padded(tokens, tokens.flatten().nonzero()[:, 0]))
        return cls(Padded(mask, order[rows] * mask.shape[1] + columns), tuple(parts), firsts)

    def to(self, device: torch.device | str) -> Packing:
        """The same packing on another device."""
        parts = tuple(part.to(device) for part in self.parts)
        return Packing(self.whole.to(device), parts, self.firsts.to(device, non_blocking=True))

    @property
    def positions(self) -> Tensor:
        """Each token's place in its row, counted from 0: (1, T)."""
        return (self.whole.places % self.whole.mask.shape[1])[None]

    def first(self, packed: Tensor) -> Tensor:
        """The first token of every row: (1, T, ...) -> (B, ...)."""
        return packed[0].index_select(0, self.firsts)

    def attended(self, attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention within every row: three (1, T, H, d) -> (1, T, H, d)."""
        sizes = [len(part.places) for part in self.parts]
        found = []
        pieces = (torch.split(side, sizes, dim=1) for side in (query, key, value))  # type: ignore[no-untyped-call]
        for part, *sides in zip(self.parts, *pieces, strict=True):
            ours, theirs, values = (part.unpack(side).transpose(1, 2) for side in sides)
            found.append(part.pack(attend(ours, theirs, values, part.mask[:, None, None, :])))
        return torch.cat(found, dim=1)


def pays(places: int, tokens: int) -> bool:
    """Whether a batch of so many places, `tokens` of them real, is worth packing."""
    return places > PAYS * tokens
