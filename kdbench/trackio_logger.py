"""Trackio, a tracker with a dashboard of its own and no account: `trackio show` opens it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbench.tracker import Tracker, columns, log, reason


class TrackioLogger(Tracker):
    """One run of Trackio, kept where its TRACKIO_DIR says, otherwise in the cache of Hugging Face."""

    title = "Trackio"

    @classmethod
    def start(cls, cfg: DictConfig, axes: Mapping[str, str], name: str, group: str | None) -> TrackioLogger:
        """Begin a run; where Trackio is not to be had, one warning says so."""
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        try:
            import trackio

            with contextlib.redirect_stdout(io.StringIO()):  # its greeting holds a token that lets others write
                run = trackio.init(
                    project=cfg.logger.trackio.project, name=name, group=group, config=columns(config, axes),
                    embed=False, auto_log_gpu=False, auto_log_cpu=False,
                )  # fmt: skip
        except Exception as error:  # no package, a full disk, a locked file
            log.warning("Trackio could not start (%s): the run goes on without it", reason(error))
            run = None
        return cls(run)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at an optimizer step."""
        self.attempt(lambda run: run.log(dict(metrics), step=step))

    def summarise(self, summary: Mapping[str, float]) -> None:
        """Log the final numbers under `final/`."""
        self.attempt(lambda run: run.log({f"final/{name}": value for name, value in summary.items()}))

    def close(self, exit_code: int) -> None:
        """End the run when all that it was told is written."""

        def finish(_: Any) -> None:
            import trackio

            with contextlib.redirect_stdout(io.StringIO()):
                trackio.finish()  # its current run, of which a process has one at a time; it would end that at exit too

        self.attempt(finish)
        self._run = None
