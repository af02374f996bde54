"""From ragged rows to padded batches: the batch plan, the collation and the order of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.packing import Packing, pays

# Rows that lie this many batches around each other are sorted by length: enough to pad little, few enough to mix well.
MEGABATCH = 50

NO_PLACE = -1
"""Of a token whose word is not asked for."""

UNKNOWN_WORD = -2
"""Of a place whose word nobody knows: an answer that is to be found."""


@dataclass(frozen=True)
class Batch:
    """Padded rows. `index` is each row's place in its source, which survives caps and shuffles.

    Where a row has K sequences, an answer each, what is (B, S) here is (B K, S).
    """

    input_ids: Tensor  # (B, S) int64
    attention_mask: Tensor  # (B, S) bool, true on real tokens
    token_type_ids: Tensor  # (B, S) int64
    labels: Tensor  # (B,) int64 with -1 for none, or float32 with NaN for none
    index: Tensor  # (B,) int64
    words: Tensor | None = None  # (B, S) int64, the word to be told at a place, `NO_PLACE` elsewhere; None: no places
    packing: Packing | None = None  # for models that can leave the padding out; None: they are not to

    def __len__(self) -> int:
        return len(self.index)

    @property
    def choices(self) -> int:
        """K, the sequences of a row."""
        return len(self.input_ids) // max(1, len(self.index))

    @property
    def columns(self) -> list[Tensor]:
        """The tensors with a row, or K, for each of the batch's."""
        columns = [self.input_ids, self.attention_mask, self.token_type_ids, self.labels, self.index]
        return columns if self.words is None else [*columns, self.words]

    @classmethod
    def of(cls, columns: Sequence[Tensor]) -> Batch:
        """The batch of these columns, as `columns` gives them."""
        ids, mask, types, labels, index, *words = columns
        return cls(ids, mask, types, labels, index, words[0] if words else None)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        there = Batch.of([column.to(device, non_blocking=True) for column in self.columns])
        return there if self.packing is None else replace(there, packing=self.packing.to(device))

    def split(self, parts: int) -> list[Batch]:
        """Cut into at most `parts` micro-batches whose numbers of rows differ by one at most; none is empty."""
        parts = max(1, min(parts, len(self)))
        columns = [_split(column, len(self), parts) for column in self.columns]
        pieces = [Batch.of(column) for column in zip(*columns, strict=True)]
        return pieces if self.packing is None else [packed(piece) for piece in pieces]


def _split(column: Tensor, rows: int, parts: int) -> list[Tensor]:
    pieces = torch.tensor_split(column.view(rows, -1, *column.shape[1:]), parts)
    return [piece.flatten(0, 1) for piece in pieces]


def packed(batch: Batch) -> Batch:
    """The same batch, for models that can leave the padding out."""
    return replace(batch, packing=Packing.of(batch.attention_mask))


def batch_plan(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, batching: str = "grouped"
) -> list[np.ndarray]:
    """The rows of each batch of one epoch, a function of (lengths, batch_size, seed, epoch) alone; every row once.

    grouped: rows are shuffled, cut into megabatches of 50 batches, sorted by length inside each, cut into batches, and
    the batches are shuffled. exact: rows are shuffled and cut, which pads more and is the textbook's order.
    """
    if batching not in ("grouped", "exact"):
        raise KdbenchError(f"training.batching={batching} is unknown; choose grouped or exact")
    if batch_size < 1:
        raise KdbenchError(f"training.batch_size={batch_size} must be at least 1")
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    if batching == "exact":
        return _cut(order, batch_size)
    batches: list[np.ndarray] = []
    for rows in _cut(order, MEGABATCH * batch_size):
        batches += _cut(rows[np.argsort(lengths[rows], kind="stable")], batch_size)
    return [batches[place] for place in random.permutation(len(batches))]


def length_order(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The rows of each batch of an evaluation: by length, longest first, so that memory runs out at once or never."""
    return _cut(np.argsort(-lengths, kind="stable"), batch_size)


def collate(split: Split, rows: np.ndarray, pad_id: int, unpadded: bool = False) -> Batch:
    """Pad the given rows of a split to the longest of them; the order of the rows is kept.

    With `unpadded` the batch is packed besides, where it is padded so much that this pays.
    """
    sequences = split.sequences(rows)
    starts, lengths = split.offsets[sequences], split.offsets[sequences + 1] - split.offsets[sequences]
    columns = np.arange(int(lengths.max()))
    mask = columns < lengths[:, None]
    places = (starts[:, None] + columns)[mask]
    input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
    token_types = np.zeros(mask.shape, dtype=np.int64)
    input_ids[mask] = split.tokens[places]
    token_types[mask] = split.types[places]
    arrays = [input_ids, mask, token_types, np.array(split.labels[rows]), np.array(split.index[rows])]
    if split.words is not None:
        arrays.append(np.full(mask.shape, NO_PLACE, dtype=np.int64))
        arrays[-1][mask] = split.words[places]
    batch = Batch.of([torch.from_numpy(array) for array in arrays])
    return packed(batch) if unpadded and pays(mask.size, int(lengths.sum())) else batch


def in_order(split: Split, batch_size: int, pad_id: int) -> Iterator[Batch]:
    """The batches of an evaluation, in the order of `length_order(split.row_lengths, batch_size)`."""
    for rows in length_order(split.row_lengths, batch_size):
        yield collate(split, rows, pad_id)


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
