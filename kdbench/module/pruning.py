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
        score: the metric that is the task's score.
    """

    def __init__(self, reporter: Reporter, stream: BatchStream, score: str) -> None:
        rows, training = len(stream.split), stream.training
        steps = range(1, training.steps(rows) + 1)
        self.reporter, self.score, self.found = reporter, score, 0
        self.planned = sum(training.evaluated(step, rows) for step in steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        found = [value for row in pl_module.history if (value := self.reporter.of(row, self.score)) is not None]
        if len(found) > self.found:  # a storage that is away is not waited for after every batch
            self.found = len(found)
            self.reporter.report(found, self.planned)
