"""The loggers of a run: CSV always, TensorBoard, Trackio and W&B where the group `logger` asks for them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

    from kdbench.finished_run import FinishedRun


@dataclass(frozen=True)
class Trackers:
    """The loggers of one run while it lasts; `lightning` is what a Trainer takes."""

    lightning: tuple[Logger, ...]
    axes: Mapping[str, str]

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers, named `split/name`, at an optimizer step."""
        for logger in self.lightning:
            logger.log_metrics(dict(values), step=step)

    def finish(self, summary: Mapping[str, float], run: FinishedRun | None = None) -> None:
        """Log the final numbers where a table of runs reads them (the summary of a tracker, TensorBoard's HPARAMS), and
        what a tracker shows of a finished run."""
        from pytorch_lightning.loggers import TensorBoardLogger

        from kdbench.tracker import Tracker

        for logger in self.lightning:
            if isinstance(logger, Tracker):
                logger.summarise(summary)
                if run is not None:
                    logger.show(run)
            elif isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(dict(self.axes), dict(summary))

    def pruned(self) -> None:
        """Say where a table of runs is read that a search has ended this one early: it is no failed one."""
        from kdbench.tracker import Tracker

        for logger in self.lightning:
            if isinstance(logger, Tracker):
                logger.summarise({"pruned": True})


@contextmanager
def loggers(
    cfg: DictConfig, folder: Path | None, axes: Mapping[str, str], name: str, group: str | None
) -> Iterator[Trackers]:
    """The loggers of one run, closed at its end however it ends: one run is one W&B run, with its exit code. That of a
    pruned trial is 0, and its summary says `pruned`.

    Args:
        cfg: the completed configuration; `cfg.logger` chooses, the whole of it is what W&B shows as the run's config.
        folder: where they write (`metrics.csv`, `wandb/`, `tensorboard/`); without it none is started.
        axes: the run's choices, flat columns of their own in a tracker (`axis/knowledge`) and TensorBoard.
        name: what a tracker calls the run.
        group: the sweep's name, the group of its runs.
    """
    from kdbench.search.pruning import Pruned
    from kdbench.tracker import Tracker

    started: list[Logger] = []
    exit_code = 1
    try:
        if folder is not None:
            if cfg.logger.csv:
                started.append(_csv(folder))
            if cfg.logger.tensorboard:
                started.append(_tensorboard(folder))
            if cfg.logger.trackio is not None:
                started.append(_trackio(cfg, axes, name, group))
            if cfg.logger.wandb is not None:
                started.append(_wandb(cfg, folder, axes, name, group))
        trackers = Trackers(tuple(started), axes)
        try:
            yield trackers
        except Pruned:
            trackers.pruned()
            exit_code = 0
            raise
        exit_code = 0
    finally:
        for logger in started:
            if isinstance(logger, Tracker):
                logger.close(exit_code)
            else:
                logger.finalize("failed" if exit_code else "success")


def _csv(folder: Path) -> CSVLogger:
    from pytorch_lightning.loggers import CSVLogger

    # Losses are logged once in many steps: each row goes to the file at once, for whoever watches.
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    with warnings.catch_warnings():
        # The folder is the job's own, and not empty: Hydra writes its configuration there.
        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
        _: Any = logger.experiment
    return logger


def _tensorboard(folder: Path) -> TensorBoardLogger:
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)


def _trackio(cfg: DictConfig, axes: Mapping[str, str], name: str, group: str | None) -> Logger:
    from kdbench.trackio_logger import TrackioLogger

    return TrackioLogger.start(cfg, axes, name, group)


def _wandb(cfg: DictConfig, folder: Path, axes: Mapping[str, str], name: str, group: str | None) -> Logger:
    from kdbench.wandb_logger import WandbLogger

    return WandbLogger.start(cfg, folder, axes, name, group)
