"""What a search hears of a training: the trial's own evaluations, in the objective's own metric, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

import kdbench
from kdbench.error import KdbenchError
from kdbench.module.pruning import Pruning
from kdbench.search.objective import objectives
from kdbench.search.pruning import REPORTED, Pruned, Reporter, reporting, saved
from kdbench.search.settings import refuse_blind_pruner

Overrides = Callable[..., list[str]]
SIZE = "student.width: 32, student.heads: 4, student.intermediate: 64, student.max_positions: 64"
ASSISTANT = f"+team.small.student={{student.layers: 1, {SIZE}, initialization: random, training.epochs: 3}}"


def history(record: dict[str, Any], metric: str) -> dict[int, float]:
    """The evaluations of a run's last stage, counted from 1."""
    last = [*record["config"]["stages"]][-1]
    rows = [row for row in record["history"] if row["stage"] == last and metric in row and row["step"] > 0]
    return {number: row[metric] for number, row in enumerate(rows, start=1)}


def test_runs_behind_a_trial_are_not_reported_as_the_trial(tiny: Overrides) -> None:
    """An assistant and the pilots of a team train within the trial's own run, before its student does."""
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    team = ["method=kd", ASSISTANT, "+team.large.teacher={}", "sampling=student_rank", "training.epochs=2"]
    with reporting(Reporter(trial, "score")):
        record = kdbench.run(kdbench.compose(tiny(*team)))
    (found,) = study.trials
    assert len(found.intermediate_values) == 2
    assert found.intermediate_values == history(record, "validation/accuracy")


def test_a_trial_is_pruned_by_what_is_looked_for(tiny: Overrides) -> None:
    """Not by the task's score in the direction of another metric."""
    study = optuna.create_study(direction="minimize")
    (objective,) = objectives(["validation/f1"], "minimize")
    overrides = tiny("method=label", "initialization=random", "training.epochs=2", "data.metrics=[accuracy,f1]")
    with reporting(Reporter(study.ask(), objective.metric)):
        record = kdbench.run(kdbench.compose(overrides))
    (found,) = study.trials
    assert found.intermediate_values == history(record, "validation/f1") and len(found.intermediate_values) == 2


@pytest.mark.parametrize("name", ["latency", "parameters", "test/accuracy"])
def test_a_pruner_needs_an_objective_that_evaluations_have(name: str) -> None:
    with pytest.raises(KdbenchError, match=f"pruner=median compares .* {name} is known of finished runs alone: choose"):
        refuse_blind_pruner({"name": "median"}, objectives([name], None))
    refuse_blind_pruner({"name": "none"}, objectives([name], None))
    refuse_blind_pruner({"name": "median"}, objectives(["validation/f1"], None))


class Trial:
    """One that a study can be told nothing of while `away` is set."""

    number, away, ended = 3, False, False

    def __init__(self) -> None:
        self.told: dict[int, float] = {}
        self.attempts = 0

    def report(self, value: float, number: int) -> None:
        self.attempts += 1
        if self.ended:
            raise optuna.exceptions.UpdateFinishedTrialError
        if self.away:
            raise OperationalError("INSERT", None, Exception("database is locked"))
        self.told[number] = value

    def set_user_attr(self, key: str, value: Any) -> None:
        assert key == REPORTED

    def should_prune(self) -> bool:
        return self.told[max(self.told)] < 0.1


def test_a_storage_that_is_away_ends_no_training(caplog: pytest.LogCaptureFixture) -> None:
    """What it was not told it is told with the next evaluation; people are told once."""
    trial: Any = Trial()
    reporter = Reporter(trial, "score")
    reporter.report([0.5], 4)
    trial.away = True
    reporter.report([0.5, 0.6], 4)
    reporter.report([0.5, 0.6, 0.7], 4)
    assert trial.told == {1: 0.5} and reporter.seen == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "trial 3" in caplog.text
    trial.away = False
    reporter.report([0.5, 0.6, 0.7, 0.8], 4)
    assert trial.told == {1: 0.5, 2: 0.6, 3: 0.7, 4: 0.8}


def test_a_trial_that_somebody_else_has_ended_is_trained_to_its_end() -> None:
    trial: Any = Trial()
    trial.ended = True
    Reporter(trial, "score").report([0.01, 0.02], 4)


def test_a_finished_run_is_reported_and_not_pruned() -> None:
    trial: Any = Trial()
    Reporter(trial, "score").report([0.01, 0.02, 0.03], 3, ends=False)
    assert trial.told == {1: 0.01, 2: 0.02, 3: 0.03}
    with pytest.raises(Pruned, match=r"pruned after 1 of 3 evaluations, at 0\.01"):
        Reporter(trial, "score").report([0.01, 0.02, 0.03], 3)


def test_only_pruning_spares_evaluations() -> None:
    """A trial that stopped early by its own patience was spared nothing."""
    states = [(optuna.trial.TrialState.COMPLETE, 3, 10), (optuna.trial.TrialState.PRUNED, 2, 10)]
    trials = [
        optuna.trial.create_trial(
            state=state, value=0.5 if state.name == "COMPLETE" else None, user_attrs={REPORTED: [done, planned]}
        )
        for state, done, planned in states
    ]
    assert saved(trials) == (8, 13)


def test_a_study_is_asked_once_an_evaluation() -> None:
    """Not after every batch: a storage that is away may let a question wait for a minute."""
    stream: Any = SimpleNamespace(
        split=[None] * 4, training=SimpleNamespace(steps=lambda rows: 4, evaluated=lambda step, rows: step % 2 == 0)
    )
    trial: Any = Trial()
    trial.away = True
    pruning = Pruning(Reporter(trial, "score"), stream, "m")
    history = [{"step": 0, "m": 0.5}, {"step": 1, "loss": 1.0}, {"step": 2, "m": 0.6}]
    for _ in range(3):
        pruning.on_train_batch_end(None, SimpleNamespace(history=history))  # type: ignore[arg-type]
    assert trial.attempts == 1 and pruning.planned == 2
    trial.away = False
    pruning.on_train_batch_end(None, SimpleNamespace(history=[*history, {"step": 4, "m": 0.7}]))  # type: ignore[arg-type]
    assert trial.told == {1: 0.6, 2: 0.7}
