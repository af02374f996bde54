"""A split as ragged arrays: what tokenisation leaves behind and batches are made of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Split:
    """The tokenised rows of one split, end to end in flat arrays; row i is tokens[offsets[i]:offsets[i + 1]]."""

    tokens: np.ndarray  # (sum of lengths,) int32
    types: np.ndarray  # (sum of lengths,) int8, the token type of each token
    offsets: np.ndarray  # (rows + 1,) int64
    labels: np.ndarray  # (rows,) int64, -1 = none; float32 with NaN = none for a regression
    index: np.ndarray  # (rows,) int64, the row's place in its source

    def __len__(self) -> int:
        return len(self.index)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, (rows,) int64."""
        return np.asarray(np.diff(self.offsets))

    @property
    def labelled(self) -> np.ndarray:
        """Which rows have a label, (rows,) bool."""
        return ~np.isnan(self.labels) if self.labels.dtype.kind == "f" else np.asarray(self.labels >= 0)

    def take(self, rows: np.ndarray) -> Split:
        """The split of these rows alone, in this order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Each kept token's place: its row's start in the whole, plus how far it stands inside its row.
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Split(self.tokens[places], self.types[places], offsets, self.labels[rows], self.index[rows])

    def save(self, folder: Path, name: str) -> None:
        """Write one .npy file per array, `<name>.<array>.npy`."""
        for field in fields(self):
            np.save(folder / f"{name}.{field.name}.npy", getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path, name: str) -> Split:
        """Memory-map what `save` wrote; nothing is read until it is used, and nothing can be written."""
        return cls(*(np.load(folder / f"{name}.{field.name}.npy", mmap_mode="r") for field in fields(cls)))
