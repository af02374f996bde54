"""Any student with fewer words than its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kdbench.data.batch import Batch
from kdbench.decoder import Decoder
from kdbench.model import Model
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.vocabulary.tables import Vocabulary


def of_kept_words(student: Model, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a model with all words as they fit a student: its rows of whatever has one for each word."""
    if not isinstance(student, Compressed):
        return dict(weights)
    every, words = len(student.rows), student.words
    return {name: value[words] if value.dim() and len(value) == every else value for name, value in weights.items()}


class Compressed(Model):
    """A student that reads and tells kept words alone (Tan et al. 2023); the tables are saved with its weights.

    Args:
        inner: the student, with a row for each kept word.
        vocabulary: which these are.
        expanded: it gives scores of all words, a removed one that of its substitute; otherwise of the kept ones.
    """

    rows: Tensor
    words: Tensor

    def __init__(self, inner: Model, vocabulary: Vocabulary, expanded: bool = False) -> None:
        super().__init__()
        self.inner, self.expanded = inner, expanded
        self.register_buffer("rows", torch.from_numpy(vocabulary.rows))
        self.register_buffer("words", torch.from_numpy(vocabulary.words))

    @property
    def bare(self) -> Model:
        return self.inner

    @property
    def shape(self) -> Shape:
        return self.inner.shape

    @property
    def decoder(self) -> Decoder | None:
        """Of the kept words, whatever is compared: what it tells is one of them."""
        inner = self.inner.decoder
        return None if inner is None else replace(inner, words=self.words, rows=self.rows)

    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        words = (
            batch.words if batch.words is None else torch.where(batch.words < 0, batch.words, self.rows[batch.words])
        )
        outputs: ModelOutputs = self.inner(replace(batch, input_ids=self.rows[batch.input_ids], words=words), taps)
        decoder = self.decoder if taps.decoder_inputs else None
        if decoder is not None and self.expanded:
            decoder = decoder.of_words(self.rows)
        return replace(outputs, words=batch.words, decoder=decoder)

    def stop_after(self, layers: int) -> None:
        self.inner.stop_after(layers)

    def of_head(self, name: str) -> bool:
        return self.inner.of_head(name.removeprefix("inner."))

    def save(self, folder: Path) -> None:
        self.inner.save(folder)
