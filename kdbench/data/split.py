"""A split as ragged arrays: what tokenisation leaves behind and batches are made of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kdbench.data.questions import Questions

OPTIONAL = ("words", "groups", "credits", "characters")


@dataclass(frozen=True)
class Split:
    """The tokenised rows of one split, end to end in flat arrays.

    Sequence i is tokens[offsets[i]:offsets[i + 1]]. A row is one sequence; where a task is to choose between K answers,
    a row is K sequences that follow each other, one for each answer; where an answer is a span of a text, a row is a
    window of that text.
    """

    tokens: np.ndarray  # (sum of lengths,) int32
    types: np.ndarray  # (sum of lengths,) int8, the token type of each token
    offsets: np.ndarray  # (sequences + 1,) int64
    labels: np.ndarray  # (rows,) int64, -1 = none; float32 with NaN = none for a regression; of spans (rows, 2)
    index: np.ndarray  # (rows,) int64, the row's place in its source, of a window among all windows
    words: np.ndarray | None = None  # (sum of lengths,) int32, see `kdbench.data.batch.Batch.words`; None: no places
    groups: np.ndarray | None = None  # (rows,) int64, the question that a row belongs to; None: each is its own
    credits: np.ndarray | None = None  # (rows, K, 2) float32, exact match and F1 of each answer; None: there are none
    characters: np.ndarray | None = None  # (sum of lengths, 2) int32, where a token stands in its text; None: no spans
    questions: Questions | None = None  # those that `groups` counts; None: no spans

    def __len__(self) -> int:
        return len(self.index)

    @property
    def choices(self) -> int:
        """K, the sequences of a row."""
        return max(1, (len(self.offsets) - 1) // max(1, len(self.index)))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per sequence, (rows K,) int64."""
        return np.asarray(np.diff(self.offsets))

    @property
    def row_lengths(self) -> np.ndarray:
        """Tokens of the longest sequence of each row, (rows,) int64."""
        return np.asarray(self.lengths.reshape(len(self), -1).max(axis=1)) if len(self) else self.lengths

    @property
    def sequence_index(self) -> np.ndarray:
        """A number of each sequence that survives caps and shuffles, (rows K,) int64: of a single one its row's."""
        return self.sequences(np.asarray(self.index))

    def sequences(self, rows: np.ndarray) -> np.ndarray:
        """The sequences of rows, in their order."""
        return np.asarray((rows[:, None] * self.choices + np.arange(self.choices)).reshape(-1))

    @property
    def labelled(self) -> np.ndarray:
        """Which rows have a label, (rows,) bool."""
        known = ~np.isnan(self.labels) if self.labels.dtype.kind == "f" else self.labels >= 0
        return np.asarray(known.reshape(len(self), -1).all(axis=1))

    def take(self, rows: np.ndarray) -> Split:
        """The split of these rows alone, in this order."""
        sequences = self.sequences(rows)
        lengths = self.lengths[sequences]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Each kept token's place: its sequence's start in the whole, plus how far it stands inside its sequence.
        places = np.repeat(self.offsets[sequences] - offsets[:-1], lengths) + np.arange(offsets[-1])
        by_token = {"tokens": self.tokens, "types": self.types, "words": self.words, "characters": self.characters}
        by_row = {"labels": self.labels, "index": self.index, "groups": self.groups, "credits": self.credits}
        kept = {name: values[places] for name, values in by_token.items() if values is not None}
        kept |= {name: values[rows] for name, values in by_row.items() if values is not None}
        return Split(offsets=offsets, questions=self.questions, **kept)

    def save(self, folder: Path, name: str) -> None:
        """Write one .npy file per array that is there, `<name>.<array>.npy`, and the questions as `<name>.parquet`."""
        for array in ARRAYS:
            if (values := getattr(self, array)) is not None:
                np.save(folder / f"{name}.{array}.npy", values)
        if self.questions is not None:
            self.questions.save(folder / f"{name}.parquet")

    @classmethod
    def load(cls, folder: Path, name: str) -> Split:
        """Memory-map what `save` wrote; nothing is read until it is used, and nothing can be written."""
        from kdbench.data.questions import Questions

        paths = {array: folder / f"{name}.{array}.npy" for array in ARRAYS}
        there = {array: path for array, path in paths.items() if array not in OPTIONAL or path.is_file()}
        asked = folder / f"{name}.parquet"
        questions = Questions.load(asked) if asked.is_file() else None
        return cls(**{array: np.load(path, mmap_mode="r") for array, path in there.items()}, questions=questions)


ARRAYS = tuple(each.name for each in fields(Split) if each.name != "questions")
