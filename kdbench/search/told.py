"""The task of a search's jobs: runs one, and tells the study how it ended."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.error import KdbenchError
from kdbench.outcome import Outcome
from kdbench.search.objective import Constraint, Objective
from kdbench.search.pruning import Reporter, reporting
from kdbench.search.sampler import make_pruner
from kdbench.search.storage import open_storage
from kdbench.store import Store, read_json
from kdbench.sweep import reason_of

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna import Study
    from optuna.trial import Trial

log = logging.getLogger(__name__)

SIGNATURE, REASON, LABEL = "signature", "reason", "label"
"""Attributes of a trial: the run that it is, why it failed or could not be, and its overrides for people."""


@dataclass
class Told:
    """Runs a job as a trial, and tells the study its values, that it was pruned, or that it failed.

    It travels to a launcher's worker processes; each opens the storage for itself.

    Attributes:
        task: of Hydra.
        storage, study: where the study is, and its name.
        objectives, constraints: what is read of a finished run.
        pruner: the node `hydra.sweeper.pruner`.
        folder: of the search.
        trials: the number of the trial of each of Hydra's jobs.
    """

    task: Callable[[DictConfig], Any]
    storage: str
    study: str
    objectives: list[Objective]
    constraints: list[Constraint]
    pruner: Mapping[str, Any]
    folder: Path | None = None
    trials: dict[int, int] = field(default_factory=dict)

    def __call__(self, cfg: DictConfig) -> Outcome:
        import typer
        from hydra.core.hydra_config import HydraConfig

        number = self.trials[int(HydraConfig.get().job.num)]
        study = self.open()
        trial = running(study, number)
        reporter = Reporter(trial, self.objectives[0].metric if len(self.objectives) == 1 else None)
        with reporting(reporter):
            outcome = self._outcome(cfg)
        outcome = self._end(study, trial, outcome, Path(str(cfg.paths.store)), reporter)
        typer.echo(line(study, trial.number, outcome))
        return outcome

    def _end(self, study: Study, trial: Trial, outcome: Outcome, store: Path, reporter: Reporter) -> Outcome:
        """Tell the study the end of a trial; one that cannot be told as it was, as a failed one."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            return self.tell(study, trial, outcome, store, reporter)
        except UpdateFinishedTrialError:
            log.warning(
                "trial %d was ended by another process, which makes it again from what is in the store", trial.number
            )
            return outcome
        except Exception as error:
            log.error("%s", traceback.format_exc())
            outcome = Outcome("failed", outcome.signature, None, reason_of(error))
            with suppress(UpdateFinishedTrialError):
                trial.set_user_attr(REASON, outcome.reason)
                study.tell(trial, state=TrialState.FAIL)
            return outcome

    def open(self) -> Study:
        """The study, from whatever process asks."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.load_study(
            study_name=self.study, storage=open_storage(self.storage), pruner=make_pruner(self.pruner)
        )

    def _outcome(self, cfg: DictConfig) -> Outcome:
        try:
            found: Outcome = self.task(cfg)
        except (Exception, SystemExit) as error:
            log.error("%s", traceback.format_exc())
            return Outcome("failed", None, None, reason_of(error))
        return found

    def tell(self, study: Study, trial: Trial, outcome: Outcome, store: Path, reporter: Reporter) -> Outcome:
        """Enter the end of a trial in its study; an outcome whose values cannot be read becomes a failed one."""
        from optuna.trial import TrialState

        if outcome.signature is not None:
            trial.set_user_attr(SIGNATURE, outcome.signature)
        if outcome.status in ("finished", "reused"):
            record = read_json(Store(store).path("run", str(outcome.signature)) / "record.json")
            try:
                values = [objective.value(record) for objective in self.objectives]
                for each in self.constraints:
                    trial.set_constraint(str(each), each.violation(record))
            except KdbenchError as error:
                outcome = Outcome("failed", outcome.signature, None, str(error))
            else:
                _report(reporter, record)
                study.tell(trial, values, skip_if_finished=True)
                return Outcome(outcome.status, outcome.signature, values[0])
        if outcome.reason is not None:
            trial.set_user_attr(REASON, outcome.reason)
        state = TrialState.PRUNED if outcome.status == "pruned" else TrialState.FAIL
        study.tell(trial, state=state, skip_if_finished=True)
        return outcome


def running(study: Study, number: int) -> Trial:
    """The trial of that number, to be reported to."""
    import optuna

    (found,) = [trial for trial in study.get_trials(deepcopy=False) if trial.number == number]
    return optuna.Trial(study, found._trial_id)


def _report(reporter: Reporter, record: Mapping[str, Any]) -> None:
    """The evaluations of a finished run that its training has not told: those of a run that was in the store."""
    last = [*record["config"]["stages"]][-1]
    rows = [row for row in record["history"] if row["stage"] == last]
    values = [value for row in rows if (value := reporter.of(row, record["score"])) is not None]
    reporter.report(values, len(values), ends=False)


def line(study: Study, number: int, outcome: Outcome) -> str:
    """What is said after a trial."""
    (trial,) = [each for each in study.get_trials(deepcopy=False) if each.number == number]
    values = ", ".join(f"{value:.4g}" for value in trial.values or ())
    said = outcome.reason or values
    return f"trial {number} {outcome.status}: {trial.user_attrs.get(LABEL, '')} {said}".rstrip()
