"""From ragged rows to padded batches: the batch plan, the collation and the order of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.packing import Packing, pays

# Rows that lie this many batches around each other are sorted by length: enough to pad little, few enough to mix well.
MEGABATCH = 50


@dataclass(frozen=True)
class Batch:
    """Padded rows. `index` is each row's place in its source, which survives caps and shuffles."""

    input_ids: Tensor  # (B, S) int64
    attention_mask: Tensor  # (B, S) bool, true on real tokens
    token_type_ids: Tensor  # (B, S) int64
    labels: Tensor  # (B,) int64 with -1 for none, or float32 with NaN for none
    index: Tensor  # (B,) int64
    packing: Packing | None = field(default=None, kw_only=True)  # for models that can leave the padding out; None: no

    def __len__(self) -> int:
        return len(self.index)

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The tensors with a row for each of the batch's."""
        return self.input_ids, self.attention_mask, self.token_type_ids, self.labels, self.index

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        packing = None if self.packing is None else self.packing.to(device)
        return Batch(*(column.to(device, non_blocking=True) for column in self.columns), packing=packing)

    def split(self, parts: int) -> list[Batch]:
        """Cut into at most `parts` micro-batches whose numbers of rows differ by one at most; none is empty."""
        parts = max(1, min(parts, len(self)))
        columns = [torch.tensor_split(column, parts) for column in self.columns]
        pieces = [Batch(*column) for column in zip(*columns, strict=True)]
        return pieces if self.packing is None else [packed(piece) for piece in pieces]


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
    starts, lengths = split.offsets[rows], split.offsets[rows + 1] - split.offsets[rows]
    columns = np.arange(int(lengths.max()))
    mask = columns < lengths[:, None]
    places = (starts[:, None] + columns)[mask]
    input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
    token_types = np.zeros(mask.shape, dtype=np.int64)
    input_ids[mask] = split.tokens[places]
    token_types[mask] = split.types[places]
    arrays = (input_ids, mask, token_types, np.array(split.labels[rows]), np.array(split.index[rows]))
    batch = Batch(*(torch.from_numpy(array) for array in arrays))
    return packed(batch) if unpadded and pays(mask.size, int(lengths.sum())) else batch


def in_order(split: Split, batch_size: int, pad_id: int) -> Iterator[Batch]:
    """The batches of an evaluation, in the order of `length_order(split.lengths, batch_size)`."""
    for rows in length_order(split.lengths, batch_size):
        yield collate(split, rows, pad_id)


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
