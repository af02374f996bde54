"""One training from start, or from where a killed one stood, to its kept weights."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from kdbench.error import KdbenchError
from kdbench.module.fitted import Fitted
from kdbench.module.training import BatchStream

log = logging.getLogger(__name__)

RESUME = "resume.pt"
WORTH_KEEPING = 10.0
"""Seconds of training after which an evaluation is followed by a checkpoint, whose writing takes as long as some steps:
a training that is done sooner is begun anew sooner."""
LIGHTNING_PRECISION = {"f32": "32-true", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class Fit:
    """What a training gave: its steps, the history of losses and evaluations, and the kept evaluation."""

    steps: int
    history: list[dict[str, float]]
    metrics: dict[str, float]
    start_metrics: dict[str, float]


class Watch(pl.Callback):
    """Evaluates when it is due, keeps the best weights, writes resumable checkpoints and ends a training early."""

    def __init__(
        self,
        stream: BatchStream,
        evaluate: Callable[[], dict[str, float]],
        score: str,
        folder: Path,
        at_start: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self.stream, self.evaluate, self.score, self.folder = stream, evaluate, score, folder
        self.at_start = at_start
        self.best_score: float | None = None
        self.kept: dict[str, float] = {}
        self.start: dict[str, float] = {}
        self.kept_weights: dict[str, torch.Tensor] | None = None
        self.waited = 0
        self.written = time.monotonic()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Fitted)
        resumable = self.folder / RESUME
        if resumable.exists():
            self._restore(pl_module, resumable)
        elif self.at_start is not None or self.stream.training.from_start:
            self.start = self.evaluate()
            pl_module.note(self.start)
            if self.stream.training.from_start:
                self._compare(pl_module, self.start)
        if self.at_start is not None:
            self.at_start(self.start)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        assert isinstance(pl_module, Fitted)
        settings, rows = self.stream.training, len(self.stream.split)
        evaluated = settings.evaluated(pl_module.done, rows)
        if evaluated:
            pl_module.read_losses()
            metrics = self.evaluate()
            pl_module.note(metrics)
            self._compare(pl_module, metrics)
            if settings.patience is not None and self.waited >= settings.patience:
                trainer.should_stop = True
        # At the end the artefact itself follows at once, and needs no checkpoint.
        if trainer.should_stop or pl_module.done == pl_module.steps:
            return
        worth = evaluated and time.monotonic() - self.written >= WORTH_KEEPING
        if worth or pl_module.done % settings.checkpoint_every_steps == 0:
            self._write(pl_module)

    def _compare(self, module: Fitted, metrics: dict[str, float]) -> None:
        if self.score not in metrics:
            raise KdbenchError(f"no evaluation gives {self.score}: choose data.metrics among {sorted(metrics)}")
        better = self.best_score is None or metrics[self.score] > self.best_score
        if better:
            self.best_score = metrics[self.score]
        self.waited = 0 if better else self.waited + 1
        if better or self.stream.training.keep == "last":
            self.kept = metrics
            self.kept_weights = {name: value.detach().clone() for name, value in module.model.state_dict().items()}

    def _write(self, module: Fitted) -> None:
        # A checkpoint of weights that are not finite would make every later attempt fail: the losses are read first.
        module.read_losses()
        state = {
            "module": module.state(),
            "start": self.start,
            "best_score": self.best_score,
            "kept": self.kept,
            "kept_weights": self.kept_weights,
            "waited": self.waited,
        }
        temporary = self.folder / f"{RESUME}.new"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / RESUME)
        self.written = time.monotonic()

    def _restore(self, module: Fitted, resumable: Path) -> None:
        state = load_resumable(resumable)
        module.restore(state["module"])
        self.start, self.best_score, self.waited = state["start"], state["best_score"], state["waited"]
        self.kept, self.kept_weights = state["kept"], state["kept_weights"]
        log.info("resumed after step %d of %d", module.done, module.steps)


def load_resumable(path: Path) -> dict[str, Any]:
    """Read a resumable checkpoint; nothing but tensors and plain values is ever unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many classes for a damaged archive
        raise KdbenchError(
            f"the resumable checkpoint {path} is damaged: delete it, and the training begins anew"
        ) from error
    assert isinstance(state, dict)
    return state


def fit(
    module: Fitted,
    stream: BatchStream,
    evaluate: Callable[[], dict[str, float]],
    score: str,
    folder: Path,
    accelerator: str = "auto",
    precision: str = "f32",
    loggers: Sequence[Logger] = (),
    at_start: Callable[[dict[str, float]], None] | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> Fit:
    """Train a module on a stream of batches and leave the kept weights in it.

    Args:
        module: is changed in place.
        stream: the batches from step 0; a resumed training skips those it has seen.
        evaluate: the metrics of the module's model as it stands.
        score: the key of the metric that decides which weights are best; higher is better.
        folder: where the resumable checkpoint lives while the training goes on.
        accelerator, precision: the groups `device` and `precision`.
        loggers: are given losses and evaluations.
        at_start: is given an evaluation from before the first step, and may refuse to go on; None: there is none.
        callbacks: Lightning's, called after an evaluation is in the module's history.

    Raises:
        KdbenchError: a loss that is not finite, or a damaged checkpoint.
    """
    watch = Watch(stream, evaluate, score, folder, at_start)
    resumable = folder / RESUME
    start = int(load_resumable(resumable)["module"]["done"]) if resumable.exists() else 0
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=LIGHTNING_PRECISION[precision],  # type: ignore[arg-type]
        max_epochs=1,
        max_steps=-1,
        logger=list(loggers) or False,
        callbacks=[watch, *callbacks],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    remaining = replace(stream, start=start)
    module.train()  # a model that was loaded is in evaluation mode, and Lightning leaves it there
    trainer.fit(module, train_dataloaders=remaining)
    if watch.kept_weights is not None:
        module.model.load_state_dict(watch.kept_weights)
    return Fit(module.done, module.history, watch.kept, watch.start)
