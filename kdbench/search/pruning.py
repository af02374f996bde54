"""Ending a trial that promises nothing, while it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from kdbench.error import KdbenchError
from kdbench.search.objective import SCORE

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)

REPORTED = "evaluations"
"""The attribute of a trial that says how many evaluations it had, and how many it would have had."""


class Pruned(KdbenchError):
    """A trial was ended: not a mistake, and not a result either."""


class Reporter:
    """Tells a study of every evaluation of a run's last stage, and ends the run where the study's pruner says so.

    A storage that cannot be reached for a while ends no training: what it was not told it is told with the next one.

    Args:
        trial: of the study.
        metric: the objective as an evaluation has it, see `Objective.metric`; None: nothing is reported.
    """

    def __init__(self, trial: Trial, metric: str | None) -> None:
        self.trial, self.metric, self.seen, self.warned = trial, metric, 0, False

    def of(self, row: Mapping[str, float], score: str) -> float | None:
        """The objective in a row of a training's history; None where it has none, as a row of losses.

        Args:
            row: of the history; that of step 0 is the student's beginning, and no evaluation.
            score: the metric that is the task's score.
        """
        return (
            None if self.metric is None or row["step"] <= 0 else row.get(score if self.metric == SCORE else self.metric)
        )

    def report(self, values: Sequence[float], planned: int, ends: bool = True) -> None:
        """Tell the study of those evaluations that it does not know yet.

        Args:
            values: of all evaluations so far.
            planned: how many there will be.
            ends: whether the pruner may end the trial; that of a finished run is what it is.

        Raises:
            Pruned: the trial is not worth going on with.
        """
        from kdbench.search.storage import faults

        for number in range(self.seen + 1, len(values) + 1):
            try:
                prune = self._told(number, values[number - 1], planned)
            except faults() as error:
                if not self.warned:
                    log.warning("the study cannot be told an evaluation of trial %d (%s): with the next one it is told "
                                "this one too", self.trial.number, error)  # fmt: skip
                self.warned = True
                return
            self.seen = number
            if prune and ends:
                raise Pruned(f"pruned after {number} of {planned} evaluations, at {values[number - 1]:.4g}")

    def _told(self, number: int, value: float, planned: int) -> bool:
        """Whether the trial is to end. One that somebody else has ended goes on: its run is kept for the next one."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self.trial.report(value, number)
            self.trial.set_user_attr(REPORTED, [number, planned])
        except UpdateFinishedTrialError:
            return False
        return number < planned and bool(self.trial.should_prune())


_REPORTER: ContextVar[Reporter | None] = ContextVar("reporter", default=None)
"""Of the job that runs in this process: a run knows no study, and its configuration is that of a run without one."""


@contextmanager
def reporting(to: Reporter | None) -> Iterator[None]:
    """Within the block the evaluations of a run go to this reporter; None: to nobody, as of a run behind the trial's
    own."""
    token = _REPORTER.set(to)
    try:
        yield
    finally:
        _REPORTER.reset(token)


def reporter() -> Reporter | None:
    """Whom the run in this process tells its evaluations; None outside a search."""
    return _REPORTER.get()


def saved(trials: Sequence[FrozenTrial]) -> tuple[int, int]:
    """The evaluations that pruned trials were spared, and all that there would have been without pruning.

    A finished trial has had all of its own, also where it stopped early.

    Args:
        trials: finished and pruned ones.
    """
    spared = planned = 0
    for trial in trials:
        done, most = trial.user_attrs.get(REPORTED, (0, 0))
        pruned = trial.state.name == "PRUNED"
        spared, planned = spared + (most - done if pruned else 0), planned + (most if pruned else done)
    return spared, planned
