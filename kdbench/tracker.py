"""What the trackers of other projects share: each is an extra sink, which can neither fail a run nor hold it up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pytorch_lightning.loggers.logger import Logger

if TYPE_CHECKING:
    from kdbench.finished_run import FinishedRun

log = logging.getLogger(__name__)


class Tracker(Logger):
    """One run of a tracker. After its first fault it warns and is silent; records are written elsewhere.

    Unlike Lightning's own loggers it shares no run between fits, uploads nothing that was not asked for, and lets no
    exception of the tracker into the training.

    Args:
        run: of the tracker; None: there is none to be had.
    """

    title: ClassVar[str]
    """The tracker's name for people."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str | None:
        return self.title

    @property
    def version(self) -> str | None:
        return None if self._run is None else str(self._run.id)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the whole configuration was given at the start."""

    def summarise(self, summary: Mapping[str, float]) -> None:
        """Set the final numbers, the columns of the tracker's table of runs."""
        raise NotImplementedError

    def show(self, run: FinishedRun) -> None:
        """Show a finished run in tables; nothing where the tracker has none."""

    def close(self, exit_code: int) -> None:
        """End the run."""
        raise NotImplementedError

    def attempt(self, action: Callable[[Any], object]) -> None:
        """Do something with the tracker's run; the first time that it fails is the last."""
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # of any class: a tracker must not end a run
            log.warning("%s failed (%s); the run goes on without it", self.title, reason(error))
            self._run = None


def reason(error: Exception) -> str:
    """An exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def columns(config: Mapping[str, Any], axes: Mapping[str, str]) -> dict[str, Any]:
    """What a tracker shows as the configuration of a run: the whole of it, and its axes as flat columns."""
    return {**config, **{f"axis/{axis}": value for axis, value in axes.items()}}


def summary(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record that a table of runs is read by: its scores, and beside them what it cost."""
    student = record["student"]
    found = {**record["metrics"], **{f"agreement/{split}": value for split, value in record["agreement"].items()}}
    found |= {f"teacher/{name}": value for name, value in ((record["teacher"] or {}).get("metrics") or {}).items()}
    found |= {"cost/parameters": student["parameters"]["total"], "cost/flops": student["flops"]}
    found |= {f"cost/latency_ms/{batch}": value for batch, value in student["latency_ms"].items()}
    return {name: float(value) for name, value in found.items() if value is not None}
