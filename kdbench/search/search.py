"""A search from its command line to its best trials."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.search.identity import about, named
from kdbench.search.objective import Constraint, Objective, constraints, objectives, refuse_unknown
from kdbench.search.result import as_record, jobs, summary, write_results
from kdbench.search.sampler import make_pruner, make_sampler
from kdbench.search.settings import Settings, refuse_blind_pruner
from kdbench.search.signs import repeatedly
from kdbench.search.space import Space, refuse_unknown_keys, space_of
from kdbench.search.storage import located, lock_of, open_storage, reachable, shown
from kdbench.search.study import SLOT, Slots, name_objectives, open_study
from kdbench.search.told import LABEL, REASON, Told
from kdbench.search.warm_start import warm_start

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna import Study

log = logging.getLogger(__name__)

Compose = Callable[[Sequence[str]], "DictConfig"]
"""The configuration that overrides make, as a launcher will compose it once more; not completed."""
Launch = Callable[[list[list[str]], int], None]
"""Runs jobs with these overrides, the first of that number."""

SIGN_SECONDS = 15.0
"""Between two signs of life of the trials that this process makes or lets wait."""

POLL_SECONDS = 2.0
"""Between two looks at a study whose last trials other processes make."""


class Search:
    """One process's part in a search.

    Args:
        settings: of the command line.
        overrides: with the searched keys, later ones replacing earlier ones.
        loader: Hydra's.
        compose: see `Compose`.
        task: Hydra's.
    """

    def __init__(
        self, settings: Settings, overrides: Sequence[str], loader: Any, compose: Compose, task: Callable[..., Any]
    ) -> None:
        settings.check()
        self.settings, self.compose = settings, compose
        self.space: Space = space_of(overrides, loader)
        self.exists = functools.lru_cache(maxsize=4096)(self._exists)
        refuse_unknown_keys(self.space, lambda chosen, key: self.exists(tuple(chosen), key))
        self.objectives: list[Objective] = objectives(settings.objectives, settings.direction)
        self.constraints: list[Constraint] = constraints(settings.constraints)
        options = [key for key in self.space.searched if key in self.space.groups]
        chosen = [self.space.override(key, next(iter(self.space.texts[key]))) for key in options]
        self.first = compose([*self.space.fixed, *chosen])
        metrics = [*(self.first.data or self.first.corpus or {}).get("metrics", ())]
        refuse_unknown([each.name for each in self.objectives], metrics, "hydra.sweeper.objectives")
        refuse_unknown([each.name for each in self.constraints], metrics, "hydra.sweeper.constraints")
        self.root = Path(str(self.first.paths.store)).expanduser()
        self.about = about(self.space, self.first, self.objectives, self.constraints, settings.sampler)
        name = str(settings.study_name or named(self.about))
        storage = located(settings.storage or str(self.root / "studies.db"))
        self.sampler_of = make_sampler(settings.sampler, len(self.objectives), bool(self.constraints))
        self.pruner = make_pruner(settings.pruner)
        refuse_blind_pruner(settings.pruner, self.objectives)
        self.grid = self._grid() if settings.sampler["name"] == "grid" else []
        self.told = Told(task, storage, name, self.objectives, self.constraints, dict(settings.pruner))

    def described(self) -> str:
        """What would be searched, in lines."""
        looked = ", ".join(f"{each.direction} {each.name}" for each in self.objectives)
        within = "".join(f", {each}" for each in self.constraints)
        lines = [f"study {self.told.study}: {self.total} trials of {self.settings.sampler['name']}, {looked}{within}"]
        lines += [f"  {line}" for line in self.space.described()]
        return "\n".join([*lines, f"  in {shown(self.told.storage)}; nothing was made, since plan=true"])

    def open(self) -> Study:
        """The study, new or as it stands, with a waiting trial in every open slot."""
        directions = [each.direction for each in self.objectives]
        with reachable(self.told.storage):
            storage = open_storage(self.told.storage)
            study = open_study(storage, self.told.study, directions, self.about, self.pruner)
            name_objectives(study, [each.name for each in self.objectives])
            slots = self._slots(study)
            if self.settings.warm_start:
                self._warm_start(study, slots)
            slots.fill()
        return study

    def _warm_start(self, study: Study, slots: Slots) -> None:
        from kdbench.store import Store

        arguments = (self._signature, self.objectives, self.constraints, slots.lock)
        added = warm_start(
            study, self.space, Store(self.root), lambda chosen, key: self.exists(tuple(chosen), key), *arguments
        )
        log.info("warm start: %d finished runs of the store", added)

    def run(self, study: Study, launch: Launch) -> None:
        """Make trials until no slot waits or runs, whoever works for the same study.

        Raises:
            KdbenchError: too many failed ones, or a storage that is gone.
        """
        with reachable(self.told.storage):
            self._run(study, launch)

    def _run(self, study: Study, launch: Launch) -> None:
        slots = self._slots(study)
        made = failed = 0
        ours: list[int] = []
        with repeatedly(SIGN_SECONDS, lambda: slots.sign(ours)):
            while (batch := self._batch(study, slots, ours)) is not None:
                if not batch:
                    time.sleep(0.0 if slots.free_dead() else POLL_SECONDS)
                    continue
                numbers = [number for number, _ in batch]
                self.told.trials = {numbers[0] + place: number for place, number in enumerate(numbers)}
                launch([overrides for _, overrides in batch], numbers[0])
                made += len(batch)
                failed += _unsuccessful(study, numbers)
                ours.clear()
                if failed > self.settings.max_failure_rate * made:
                    raise KdbenchError(
                        f"{failed} of {made} trials failed ({_reason(study)}): mend that and repeat the command, which "
                        "goes on; or set hydra.sweeper.max_failure_rate higher"
                    )

    def _batch(self, study: Study, slots: Slots, ours: list[int]) -> list[tuple[int, list[str]]] | None:
        """The next trials with their overrides, also put into `ours`; none while other processes make the last ones,
        and None when all are made."""
        batch: list[tuple[int, list[str]]] = []
        while len(batch) < self.settings.n_jobs and (trial := slots.take()) is not None:
            ours.append(trial.number)
            if (overrides := self._planned(study, trial)) is not None:
                batch.append((trial.number, overrides))
        return None if not batch and slots.left() == 0 else batch

    def _grid(self) -> list[dict[str, Any]]:
        """The combinations in an order that the seed has drawn, since n_trials may be fewer; without one in their
        own."""
        found = self.space.combinations(lambda chosen, key: self.exists(tuple(chosen), key))
        if (seed := self.settings.sampler.get("seed")) is not None:
            random.Random(seed).shuffle(found)
        return found

    @property
    def total(self) -> int:
        """How many trials the study is to have."""
        return min(self.settings.n_trials, len(self.grid) or self.settings.n_trials)

    def _slots(self, study: Study) -> Slots:
        return Slots(study, self.total, self.sampler_of, self.grid, partial(lock_of, self.told.storage))

    def _planned(self, study: Study, trial: Any) -> list[str] | None:
        """The overrides of a trial; None of one that cannot work, which the study is told."""
        import optuna

        overrides = self.space.suggest(trial, lambda chosen, key: self.exists(tuple(chosen), key))
        trial.set_user_attr(LABEL, " ".join(overrides[len(self.space.fixed) :]))
        try:
            self._signature(overrides)
        except ImpossibleError as error:
            trial.set_user_attr(REASON, str(error))
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            log.info("trial %d is impossible: %s", trial.number, error)
            return None
        except BaseException as error:
            trial.set_user_attr(REASON, str(error))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        return overrides

    def _signature(self, overrides: Sequence[str]) -> str:
        from kdbench.config import complete
        from kdbench.planning import plan_run
        from kdbench.store import Store

        completed = complete(self.compose(overrides))
        return plan_run(completed, Store(completed.paths.store)).signature

    def _exists(self, overrides: tuple[str, ...], key: str) -> bool:
        from omegaconf import DictConfig, OmegaConf

        if key.startswith("+"):
            return True
        above, _, leaf = key.rpartition(".")
        cfg = self.compose(list(overrides))
        parent = OmegaConf.select(cfg, above) if above else cfg
        return isinstance(parent, DictConfig) and leaf in parent

    def end(self, study: Study, folder: Path) -> str:
        """Write what was found into the search's folder; the summary."""
        from kdbench.store import Store
        from kdbench.sweep_folder import write_sweep

        slots = self._slots(study)
        with reachable(self.told.storage):
            ended, trials = slots.ended(), slots.trials()
        slots_ended = {trial.user_attrs[SLOT] for trial in ended}
        failed = {trial.user_attrs[SLOT]: trial for trial in trials if trial.state.name == "FAIL"}
        open_ones = [trial for slot, trial in failed.items() if slot not in slots_ended]
        write_results(folder, ended, self.objectives)
        record = as_record(self.told.study, [*ended, *open_ones], self.objectives, self.constraints)
        write_sweep(folder, folder.name, Store(self.root).root, jobs(ended), record)
        return summary(ended, open_ones, self.objectives, self.total)


def _unsuccessful(study: Study, numbers: Sequence[int]) -> int:
    """How many of these trials failed; those that a launcher left running are told to have.

    One without a reason was ended by another process, which took it for dead, and is made again.
    """
    import optuna

    found = 0
    for trial in study.get_trials(deepcopy=False):
        if trial.number not in numbers:
            continue
        if trial.state.name == "RUNNING":
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
        found += trial.state.name == "RUNNING" or (trial.state.name == "FAIL" and REASON in trial.user_attrs)
    return found


def _reason(study: Study) -> str:
    failed = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "FAIL"]
    return next((str(trial.user_attrs[REASON]) for trial in reversed(failed) if REASON in trial.user_attrs),
                "the job ended without an outcome")  # fmt: skip
