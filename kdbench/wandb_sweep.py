"""The table of a whole sweep or search as a run of its own in W&B, in the group of its runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import pandas as pd


def show_sweep(cfg: DictConfig, folder: Path) -> None:
    """Log what `kdbench-report` calls runs and summary as two tables of one W&B run of the type `sweep`; nothing where
    `logger.wandb` is not set or no job has a result.

    Args:
        cfg: of any job of the sweep.
        folder: of the sweep.
    """
    if OmegaConf.select(cfg, "logger.wandb") is None:
        return
    from kdbench.report.collect import collect
    from kdbench.report.table import tables
    from kdbench.wandb_logger import WandbLogger, begin, options_of, settings_of

    try:
        made = tables(collect(folder))
    except KdbenchError:  # nothing has finished, which the sweep has said
        return
    wanted = settings_of(cfg)
    options = options_of(wanted, folder, f"{folder.name} summary", folder.name)
    more = {"config": {"axes": list(made.axes)}, "job_type": "sweep"}
    tracker = WandbLogger(partial(begin, {**options, **more}, wanted))
    tracker.attempt(lambda run: run.log({"runs": _table(made.runs), "summary": _table(made.summary)}))
    tracker.close(0)


def _table(frame: pd.DataFrame) -> Any:
    import pandas as pd
    import wandb

    rows = [[None if pd.isna(value) else value for value in row] for row in frame.itertuples(index=False, name=None)]
    return wandb.Table(columns=[str(name) for name in frame.columns], data=rows, allow_mixed_types=True)
