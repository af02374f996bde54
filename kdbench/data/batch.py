"""From ragged rows to padded batches: the batch plan, the collation and the order of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from kdbench.data.split import Split
from kdbench.error import KdbenchError

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

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def split(self, parts: int) -> list[Batch]:
        """Cut into at most `parts` micro-batches whose numbers of rows differ by one at most; none is empty."""
        parts = max(1, min(parts, len(self)))
        columns = [torch.tensor_split(getattr(self, field.name), parts) for field in fields(self)]
        return [Batch(*column) for column in zip(*columns, strict=True)]


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


def collate(split: Split, rows: np.ndarray, pad_id: int) -> Batch:
    """Pad the given rows of a split to the longest of them; the order of the rows is kept."""
    starts, lengths = split.offsets[rows], split.offsets[rows + 1] - split.offsets[rows]
    columns = np.arange(int(lengths.max()))
    mask = columns < lengths[:, None]
    places = (starts[:, None] + columns)[mask]
    input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
    token_types = np.zeros(mask.shape, dtype=np.int64)
    input_ids[mask] = split.tokens[places]
    token_types[mask] = split.types[places]
    arrays = (input_ids, mask, token_types, np.array(split.labels[rows]), np.array(split.index[rows]))
    return Batch(*(torch.from_numpy(array) for array in arrays))


def in_order(split: Split, batch_size: int, pad_id: int) -> Iterator[Batch]:
    """The batches of an evaluation, in the order of `length_order(split.lengths, batch_size)`."""
    for rows in length_order(split.lengths, batch_size):
        yield collate(split, rows, pad_id)


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
