"""A process with several trials in hand: all of them show that it lives, until the last one has ended."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from kdbench.search import search as searches
from kdbench.search.search import Search
from kdbench.search.storage import open_storage
from kdbench.search.study import ALIVE, Slots, open_study


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    storage = open_storage(str(tmp_path / "studies.db"))
    return open_study(storage, "s", ["maximize"], {"space": "a"}, optuna.pruners.NopPruner())


def search_of(study: optuna.Study, total: int, n_jobs: int) -> Search:
    """One that plans nothing."""
    search: Any = object.__new__(Search)
    search.settings = SimpleNamespace(n_jobs=n_jobs, max_failure_rate=0.0)
    search.told = SimpleNamespace(trials={})
    search._slots = lambda study: Slots(study, total)
    search._planned = lambda study, trial: [f"trial={trial.number}"]
    return search  # type: ignore[no-any-return]


def test_trials_that_wait_for_the_others_of_their_batch_live(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "SIGN_SECONDS", 0.05)
    Slots(study, 3).fill()
    batches: list[int] = []

    def launch(batch: list[list[str]], first: int) -> None:
        numbers = range(first, first + len(batch))
        began = {number: study.trials[number].user_attrs[ALIVE] for number in numbers}
        for number in numbers:
            time.sleep(0.5)
            assert all(study.trials[each].user_attrs[ALIVE] > began[each] for each in numbers if each >= number)
            study.tell(number, 1.0)
        batches.append(len(batch))

    search_of(study, 3, n_jobs=2)._run(study, launch)
    assert batches == [2, 1] and [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3


def test_a_trial_that_another_process_took_for_dead_ends_no_search(study: optuna.Study) -> None:
    Slots(study, 1).fill()

    def launch(batch: list[list[str]], first: int) -> None:
        if first == 0:
            study.tell(first, state=optuna.trial.TrialState.FAIL)  # as another machine does, which then makes it
            study.enqueue_trial({}, user_attrs={"slot": 0})
        else:
            study.tell(first, 1.0)

    search_of(study, 1, n_jobs=1)._run(study, launch)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
