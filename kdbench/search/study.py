"""The study of a search: what it is about, and which of its trials are still to be made.

A study of n trials has n slots. Whoever opens it puts a waiting trial into every slot that has none, and whoever works
for it takes a waiting one, which a storage gives to one process alone: so any number of processes make n trials
together, none of them twice. A slot is free again when its trial failed, or when the process that made it is no longer
there; the next one begins with the same values, and what its run has in the store goes on from there.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

    from kdbench.search.sampler import SamplerOf

log = logging.getLogger(__name__)

SLOT, OWNER, ALIVE, ABOUT = "slot", "owner", "alive", "about"
"""Attributes: of a trial its slot, the process that makes it, and when that was last heard of; of a study its
subject."""

SILENT_SECONDS = 60.0
"""After so long without a sign a process on another machine is taken for dead; on this one its number is looked up."""


def open_study(
    storage: BaseStorage, name: str, directions: Sequence[str], about: Mapping[str, Any], pruner: Any
) -> Study:
    """The study of that name, new or as it stands.

    Args:
        storage: where it is kept.
        name: of the study.
        directions: of its objectives.
        about: what a study of that name may not change, see `kdbench.search.identity`.
        pruner: of Optuna, which no storage keeps.

    Raises:
        KdbenchError: a study of that name that looks for something else.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=storage, study_name=name, directions=cast(Any, list(directions)), pruner=pruner,
        load_if_exists=True,
    )  # fmt: skip
    there = [each.name.lower() for each in study.directions]
    if there != list(directions):
        raise KdbenchError(
            f"hydra.sweeper.study_name={name} is a study that looks for {', '.join(there)}, not for "
            f"{', '.join(directions)}: choose another name, or its directions"
        )
    known = study.user_attrs.get(ABOUT)
    if known is None:
        study.set_user_attr(ABOUT, dict(about))
    for key, value in about.items():
        if known is not None and known.get(key) != value:
            raise KdbenchError(
                f"hydra.sweeper.study_name={name} is a study with {_another(key)}: choose another name, or the same "
                "command as before"
            )
    return study


def name_objectives(study: Study, names: Sequence[str]) -> None:
    """Tell dashboards what the values of a study are."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(names))


def _another(key: str) -> str:
    return {
        "space": "another search space",
        "fixed": "other fixed settings, of its sweep file, of a file that this one builds on, or of the command line",
        "grid": "another order of its grid, which is that of hydra.sweeper.sampler.seed, or with none",
    }.get(key, f"other {key}")


@dataclass(frozen=True)
class Slots:
    """Who makes which trial of a study of `total` trials.

    Attributes:
        study: of Optuna.
        total: how many trials it is to have.
        sampler_of: the sampler of a slot's trial; None: the study's.
        grid: the values that the slots begin with, if they are known before.
        lock: keeps the processes of a study apart, see `lock_of`.
    """

    study: Study
    total: int
    sampler_of: SamplerOf | None = None
    grid: Sequence[Mapping[str, Any]] = ()
    lock: Callable[[], AbstractContextManager[Any]] = nullcontext

    def fill(self) -> None:
        """Put a waiting trial into every slot without one that waits, runs or has ended well."""
        self.free_dead()
        with self.lock():
            taken = {trial.user_attrs[SLOT] for trial in self.trials() if not _failed(trial)}
            for slot in range(self.total):
                if slot not in taken:
                    self.study.enqueue_trial(self._values(slot), user_attrs={SLOT: slot})

    def take(self) -> Trial | None:
        """A waiting trial, now running and ours; None where nobody waits. Of two in one slot the later one fails.

        Slots of another number than this process's, and trials that others let wait, are left to them.
        """
        with self.lock():
            return self._take()

    def _take(self) -> Trial | None:
        import optuna

        while (trial := self._popped()) is not None:
            slot = trial.user_attrs[SLOT]
            twins = [each for each in self.trials() if each.user_attrs[SLOT] == slot and not _failed(each)]
            if min(each.number for each in twins) < trial.number:
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            trial.set_user_attr(OWNER, [socket.gethostname(), os.getpid(), began(os.getpid())])
            trial.set_user_attr(ALIVE, time.time())
            return trial
        return None

    def _popped(self) -> Trial | None:
        """The first waiting trial of our slots, now running, as `Study.ask` takes the first of all."""
        import optuna

        for waiting in self.trials():
            if waiting.state != optuna.trial.TrialState.WAITING:
                continue
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # taken, and ended, in between
                if self.study._storage.set_trial_state_values(waiting._trial_id, optuna.trial.TrialState.RUNNING):
                    self.study._thread_local.cached_all_trials = None
                    if self.sampler_of is not None:  # before the trial, of which it hears at once
                        self.study.sampler = self.sampler_of(waiting.user_attrs[SLOT])
                    return optuna.Trial(self.study, waiting._trial_id)
        return None

    def sign(self, numbers: Collection[int]) -> None:
        """Let the others know that somebody sees to these trials; a storage that is away for a while ends nothing."""
        try:
            for trial in self.trials():
                if trial.number in numbers and trial.state.name == "RUNNING":
                    self.study._storage.set_trial_user_attr(trial._trial_id, ALIVE, time.time())
        except Exception as error:  # of any storage: the ends are told later, or the next process finds the trials dead
            log.warning("the study could not be told that its trials go on (%s)", error)

    def free_dead(self) -> int:
        """Let trials fail whose process is gone, and put others with the same values into their slots; how many."""
        with self.lock():
            return self._free_dead()

    def _free_dead(self) -> int:
        import optuna

        dead = [trial for trial in self.trials() if trial.state.name == "RUNNING" and not is_alive(trial)]
        for trial in dead:
            try:
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            except (ValueError, RuntimeError):  # another process has seen it first
                continue
            log.warning("trial %d was left by a process that is gone: its values are tried again", trial.number)
            self.study.enqueue_trial(self._values_of(trial), user_attrs={SLOT: trial.user_attrs[SLOT]})
        return len(dead)

    def left(self) -> int:
        """Slots whose trial waits or runs."""
        return sum(trial.state.name in ("WAITING", "RUNNING") for trial in self.trials())

    def ended(self) -> list[FrozenTrial]:
        """The trials that were finished or pruned, one a slot."""
        found: dict[int, FrozenTrial] = {}
        for trial in self.trials():
            if trial.state.name in ("COMPLETE", "PRUNED"):
                found.setdefault(trial.user_attrs[SLOT], trial)
        return [found[slot] for slot in sorted(found)]

    def trials(self) -> list[FrozenTrial]:
        """Those of this study's slots, oldest first; not those of a warm start."""
        return [trial for trial in self.study.get_trials(deepcopy=False)
                if 0 <= trial.user_attrs.get(SLOT, -1) < self.total]  # fmt: skip

    def _values(self, slot: int) -> dict[str, Any]:
        """Those of the last failed trial of a slot, whose run may have begun, or what the grid has for it."""
        failed = [trial for trial in self.trials() if trial.user_attrs[SLOT] == slot and _failed(trial)]
        return self._values_of(failed[-1]) if failed else self._of_grid(slot)

    def _values_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Those that a trial has, and those that it was to have when it ended before it had asked for all of them."""
        waiting = trial.system_attrs.get("fixed_params", {})
        return {**self._of_grid(trial.user_attrs[SLOT]), **waiting, **trial.params}

    def _of_grid(self, slot: int) -> dict[str, Any]:
        return dict(self.grid[slot]) if self.grid else {}


def is_alive(trial: FrozenTrial) -> bool:
    """Whether the process that makes a running trial is still there."""
    host, process, since = trial.user_attrs.get(OWNER, (None, 0, None))
    if host == socket.gethostname():
        return began(process) is not None and began(process) == since
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return bool(time.time() - trial.user_attrs.get(ALIVE, started) < SILENT_SECONDS)


def began(process: int) -> str | None:
    """When a process of this machine began, which tells it from a later one of the same number; None: it is not there.

    Where the system does not say when, it is 0.
    """
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "0"
    return None if Path("/proc/self/stat").exists() else "0"


def _failed(trial: FrozenTrial) -> bool:
    return trial.state.name == "FAIL"
