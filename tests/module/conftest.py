"""A model small enough to train in milliseconds, rows for it, and the settings of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kdbench.data.batch import Batch
from kdbench.data.split import Split
from kdbench.model import Model
from kdbench.module.training import Training
from kdbench.outputs import ModelOutputs, Taps
from kdbench.quiet import quiet_libraries
from kdbench.shape import Shape

VOCABULARY = 11


class Bag(Model):
    """The mean of its tokens' embeddings, normalised, dropped out and classified."""

    def __init__(self, dropout: float = 0.0, width: int = 6) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, 2)

    @property
    def shape(self) -> Shape:
        return Shape(1, self.width, 1, 2, frozenset({"logits", "hidden"}))

    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        mask = batch.attention_mask[:, :, None]
        hidden = self.norm(self.embedding(batch.input_ids)) * mask
        logits = self.classifier(self.dropout(hidden.sum(dim=1) / mask.sum(dim=1)))
        layers = dict.fromkeys(taps.hidden, hidden)
        return ModelOutputs(batch.attention_mask, logits=logits, labels=batch.labels, hidden=layers)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def quiet() -> None:
    quiet_libraries()


@pytest.fixture
def bag() -> Callable[..., Bag]:
    """Builds a model whose weights are the same each time, in the mode in which a model is loaded."""

    def build(dropout: float = 0.0, seed: int = 0, width: int = 6) -> Bag:
        torch.manual_seed(seed)
        return Bag(dropout, width).eval()

    return build


@pytest.fixture
def rows() -> Split:
    """22 rows of 1 to 4 tokens; the class is whether the first token is odd."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 5, size=22)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = random.integers(1, VOCABULARY, size=int(offsets[-1])).astype(np.int32)
    labels = (tokens[offsets[:-1]] % 2).astype(np.int64)
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, labels, np.arange(22, dtype=np.int64))


@pytest.fixture
def settings() -> dict[str, Any]:
    """A whole node `training`: 2 epochs in batches of 4 rows, nothing clipped."""
    return {
        "epochs": 2,
        "max_steps": None,
        "batch_size": 4,
        "accumulate": 1,
        "clip_norm": None,
        "batching": "grouped",
        "unpadded": True,
        "evaluations_per_epoch": 1,
        "patience": None,
        "keep": "best",
        "checkpoint_every_steps": 200,
        "log_every_steps": 25,
        "from_start": False,
    }


@pytest.fixture
def training(settings: dict[str, Any]) -> Callable[..., Training]:
    """Builds a training of these settings, but for what is given."""
    return lambda **other: Training.from_config({**settings, **other})
