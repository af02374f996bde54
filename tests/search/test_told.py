"""The end of a trial reaches its study, whatever has happened to either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from kdbench.outcome import Outcome
from kdbench.search.objective import objectives
from kdbench.search.pruning import Reporter
from kdbench.search.search import _unsuccessful
from kdbench.search.storage import open_storage
from kdbench.search.study import Slots, open_study
from kdbench.search.told import REASON, SIGNATURE, Told
from kdbench.store import write_json

RECORD = {
    "score": "validation/accuracy",
    "metrics": {"validation/accuracy": 0.75},
    "config": {"stages": {"task": {}}},
    "history": [{"stage": "task", "step": step, "validation/accuracy": 0.5 + step / 16} for step in (0, 2, 4)],
}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    file = open_storage(str(tmp_path / "studies.db"))
    made = open_study(file, "s", ["maximize"], {"space": "a"}, optuna.pruners.NopPruner())
    Slots(made, 3).fill()
    return made


def end(study: optuna.Study, trial: Any, outcome: Outcome, store: Path) -> Outcome:
    """As after a job."""
    told = Told(lambda cfg: None, "", "s", objectives(["score"], None), [], {"name": "none"})
    return told._end(study, trial, outcome, store, Reporter(trial, "score"))


def test_a_run_that_was_in_the_store_has_its_evaluations(study: optuna.Study, tmp_path: Path) -> None:
    (tmp_path / "run" / "abc").mkdir(parents=True)
    write_json(tmp_path / "run" / "abc" / "record.json", RECORD)
    assert end(study, Slots(study, 3).take(), Outcome("reused", "abc", 0.75), tmp_path).score == 0.75
    found = study.trials[0]
    assert found.values == [0.75] and found.intermediate_values == {1: 0.625, 2: 0.75}
    assert found.user_attrs[SIGNATURE] == "abc" and _unsuccessful(study, [0]) == 0


def test_an_end_that_cannot_be_told_is_a_failure_with_its_reason(study: optuna.Study, tmp_path: Path) -> None:
    """A record that is gone, or one that lacks what is looked for."""
    (tmp_path / "run" / "def").mkdir(parents=True)
    write_json(tmp_path / "run" / "def" / "record.json", {})
    for number, signature in enumerate(("abc", "def")):
        outcome = end(study, Slots(study, 3).take(), Outcome("finished", signature, 0.5), tmp_path)
        assert outcome.status == "failed" and outcome.reason
        assert study.trials[number].state.name == "FAIL"
        assert study.trials[number].user_attrs[REASON] == outcome.reason
    assert _unsuccessful(study, [0, 1]) == 2


def test_a_trial_that_another_process_has_ended_is_no_failure_of_this_one(study: optuna.Study, tmp_path: Path) -> None:
    (tmp_path / "run" / "abc").mkdir(parents=True)
    write_json(tmp_path / "run" / "abc" / "record.json", RECORD)
    trial, left = Slots(study, 3).take(), Slots(study, 3).take()
    assert trial is not None and left is not None
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    assert end(study, trial, Outcome("finished", "abc", 0.75), tmp_path).status == "finished"
    assert study.trials[0].state.name == "FAIL" and _unsuccessful(study, [0]) == 0
    assert _unsuccessful(study, [1]) == 1, "one that a launcher has left"
    assert study.trials[1].state.name == "FAIL"
