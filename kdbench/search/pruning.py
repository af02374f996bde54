"""Ending a trial that promises nothing, while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    from optuna.trial import Trial

REPORTED = "evaluations"
"""The attribute of a trial that says how many evaluations it had, and how many it would have had."""


class Pruned(KdbenchError):
    """A trial was ended: not a mistake, and not a result either."""


class Reporter:
    """Tells a study of every evaluation of a run's last stage, and ends the run where the study's pruner says so.

    Args:
        trial: of the study.
        prunes: whether it may end the run; of several objectives no pruner knows which to look at.
    """

    def __init__(self, trial: Trial, prunes: bool) -> None:
        self.trial, self.prunes, self.seen = trial, prunes, 0

    def evaluated(self, number: int, score: float, planned: int) -> None:
        """An evaluation, counted from 1, of as many as there will be.

        Raises:
            Pruned: the trial is not worth going on with.
        """
        self.seen = number
        if not self.prunes:
            return
        self.trial.report(score, number)
        self.trial.set_user_attr(REPORTED, [number, planned])
        if number < planned and self.trial.should_prune():
            raise Pruned(f"pruned after {number} of {planned} evaluations, at {score:.4g}")


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


def saved(trials: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """The evaluations that pruned trials were spared, and all that there would have been without pruning.

    Args:
        trials: the user attributes of finished and pruned ones.
    """
    pairs = [tuple(each[REPORTED]) for each in trials if REPORTED in each]
    return sum(planned - done for done, planned in pairs), sum(planned for _, planned in pairs)
