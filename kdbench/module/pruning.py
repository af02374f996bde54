"""A search hears of a training's evaluations, and may end it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from kdbench.module.training import BatchStream
from kdbench.search.pruning import Reporter


class Pruning(pl.Callback):
    """Reports the evaluations of a training in their order, after a resume those from before it first.

    Args:
        reporter: is told.
        stream: of the training: it says how many evaluations there will be.
        score: the metric that is reported.
    """

    def __init__(self, reporter: Reporter, stream: BatchStream, score: str) -> None:
        rows, training = len(stream.split), stream.training
        steps = range(1, training.steps(rows) + 1)
        self.reporter, self.score = reporter, score
        self.planned = sum(training.evaluated(step, rows) for step in steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        found = [row[self.score] for row in pl_module.history if self.score in row and row["step"] > 0]
        for number in range(self.reporter.seen + 1, len(found) + 1):
            self.reporter.evaluated(number, found[number - 1], self.planned)
