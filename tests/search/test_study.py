"""Slots: so many trials and no more, whoever makes them, whatever dies in between."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from kdbench.error import KdbenchError
from kdbench.search import storage as storages
from kdbench.search import study as studies
from kdbench.search.sampler import make_sampler
from kdbench.search.storage import located, lock_of, open_storage, reachable, shown
from kdbench.search.study import ALIVE, OWNER, SLOT, Slots, began, is_alive, open_study

SPACE = {"space": "abc"}


def opened(url: str, total: int = 5, **about: Any) -> Slots:
    study = open_study(open_storage(url), "s", ["maximize"], {**SPACE, **about}, optuna.pruners.NopPruner())
    sampler_of = make_sampler({"name": "random", "seed": 0}, 1, False)
    return Slots(study, total, sampler_of, lock=partial(lock_of, url))


@pytest.fixture(params=["studies.db", "studies.log", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("database"))
    return str(tmp_path / str(request.param))


def make(slots: Slots, state: TrialState = TrialState.COMPLETE) -> Any:
    trial = slots.take()
    assert trial is not None
    trial.suggest_float("x", 0.0, 1.0)
    slots.study.tell(trial, 1.0 if state == TrialState.COMPLETE else None, state=state)
    return trial


def test_as_many_as_were_asked_for_and_no_more(url: str) -> None:
    slots = opened(url)
    slots.fill()
    slots.fill()
    made = [make(slots, TrialState.PRUNED if place % 2 else TrialState.COMPLETE) for place in range(5)]
    assert slots.take() is None and slots.left() == 0
    assert [trial.user_attrs[SLOT] for trial in made] == [0, 1, 2, 3, 4]
    again = opened(url)
    again.fill()
    assert again.take() is None and len(again.ended()) == 5
    more = opened(url, total=7)
    more.fill()
    assert more.left() == 2


def test_a_failed_trial_frees_its_slot_for_the_next_command_with_its_values(url: str) -> None:
    slots = opened(url, total=2)
    slots.fill()
    failed = make(slots, TrialState.FAIL)
    make(slots)
    assert slots.take() is None, "not again in the same command, which would fail again"
    slots.fill()
    again = slots.take()
    assert again is not None and again.user_attrs[SLOT] == 0
    assert again.suggest_float("x", 0.0, 1.0) == failed.params["x"]


def test_two_that_fill_at_once_make_no_trial_twice(url: str) -> None:
    slots = opened(url, total=3)
    slots.fill()
    for slot in range(3):  # as another process does that looked before the first had written
        slots.study.enqueue_trial({}, user_attrs={SLOT: slot})
    made = []
    while (trial := slots.take()) is not None:
        made.append(trial.user_attrs[SLOT])
        slots.study.tell(trial, 0.0)
    assert made == [0, 1, 2] and len(slots.ended()) == 3 and slots.left() == 0


def test_a_trial_of_a_dead_process_is_made_again_with_its_values(url: str) -> None:
    slots = opened(url, total=1)
    slots.fill()
    lost = slots.take()
    assert lost is not None
    value = lost.suggest_float("x", 0.0, 1.0)
    assert slots.free_dead() == 0, "this process is alive"
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    since = began(child.pid)
    child.wait()
    lost.set_user_attr(OWNER, [lost.user_attrs[OWNER][0], child.pid, since])
    assert slots.free_dead() == 1 and slots.left() == 1
    again = slots.take()
    assert again is not None and again.suggest_float("x", 0.0, 1.0) == value
    states = [trial.state for trial in slots.study.trials]
    assert states == [TrialState.FAIL, TrialState.RUNNING]


def test_signs_of_life(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a process is looked up, with the time at which it began; elsewhere its silence counts."""
    slots = opened(url, total=1)
    slots.fill()
    trial = slots.take()
    assert trial is not None

    def found() -> Any:
        return slots.study.trials[trial.number]

    assert is_alive(found())
    here = found().user_attrs[OWNER][0]
    trial.set_user_attr(OWNER, [here, os.getpid(), "another time"])
    assert not is_alive(found()), "a later process of the same number"
    trial.set_user_attr(OWNER, ["elsewhere", 1, "1"])
    assert is_alive(found())
    trial.set_user_attr(ALIVE, time.time() - studies.SILENT_SECONDS - 1)
    assert not is_alive(found())


def test_all_trials_of_a_batch_give_signs_of_life(url: str) -> None:
    """Also those that wait for the one before them; one that has ended keeps what it has."""
    slots = opened(url, total=3)
    slots.fill()
    trials = [slots.take() for _ in range(3)]
    for trial in trials:
        assert trial is not None
        trial.set_user_attr(OWNER, ["elsewhere", 1, "1"])
        trial.set_user_attr(ALIVE, 0.0)
    slots.study.tell(trials[1], 1.0)
    slots.sign([0, 1])
    signed = [is_alive(trial) for trial in slots.study.trials]
    assert signed == [True, False, False]
    assert slots.free_dead() == 1


def test_a_process_that_wants_fewer_trials_leaves_the_others_theirs(url: str) -> None:
    many, few = opened(url, total=4), opened(url, total=2)
    many.fill()
    few.study.enqueue_trial({"x": 0.5})  # by hand, without a slot
    made = [few.take(), few.take()]
    assert [trial and trial.user_attrs[SLOT] for trial in made] == [0, 1] and few.take() is None
    assert [many.take().user_attrs[SLOT] for _ in range(2)] == [2, 3]  # type: ignore[union-attr]
    assert [trial.state.name for trial in many.study.trials] == ["RUNNING"] * 4 + ["WAITING"]


def test_a_grid_loses_no_combination(url: str) -> None:
    """A trial killed before it has asked for all of its values, twice; and one that failed."""
    grid = [{"a": value, "b": 0.5} for value in (0.25, 0.75)]
    slots = replace(opened(url, total=2), grid=grid)
    slots.fill()
    for _ in range(2):
        lost = slots.take()
        assert lost is not None and lost.suggest_float("a", 0.0, 1.0) == 0.25
        lost.set_user_attr(OWNER, [socket.gethostname(), 1, "never"])
        failed = slots.take()
        assert failed is not None and failed.suggest_float("b", 0.0, 1.0) == 0.5
        slots.study.tell(failed, state=TrialState.FAIL)
        slots.fill()
    again = [slots.take(), slots.take()]
    found = {(trial.suggest_float("a", 0.0, 1.0), trial.suggest_float("b", 0.0, 1.0)) for trial in again if trial}
    assert found == {(0.25, 0.5), (0.75, 0.5)}


def test_a_slot_is_drawn_by_its_own_sampler(tmp_path: Path) -> None:
    """It hears of its trial's beginning, and no other one does."""
    study = open_study(open_storage(str(tmp_path / "s.db")), "s", ["maximize"], SPACE, optuna.pruners.NopPruner())
    heard: list[tuple[int, int]] = []

    class Sampler(optuna.samplers.RandomSampler):
        def __init__(self, slot: int) -> None:
            super().__init__()
            self.slot = slot

        def before_trial(self, study: Any, trial: Any) -> None:
            heard.append((self.slot, trial.user_attrs[SLOT]))

    slots = Slots(study, 2, Sampler)
    slots.fill()
    assert slots.take() is not None and slots.take() is not None
    assert heard == [(0, 0), (1, 1)]


def work(url: str, total: int) -> None:
    slots = opened(url, total)
    slots.fill()
    while (trial := slots.take()) is not None:
        trial.suggest_float("x", 0.0, 1.0)
        slots.study.tell(trial, 1.0)


def test_processes_share_a_study(url: str) -> None:
    """Each slot draws from a seed of its own, so that no two processes begin with the same values."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(url, 12)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    slots = opened(url, 12)
    complete = [trial for trial in slots.study.trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs[SLOT] for trial in complete) == list(range(12)) and len(slots.study.trials) == 12
    assert len({trial.params["x"] for trial in complete}) == 12


def test_a_study_that_looks_for_something_else_is_refused(url: str) -> None:
    opened(url)
    with pytest.raises(KdbenchError, match="study_name=s is a study with another search space"):
        opened(url, space="abd")
    with pytest.raises(
        KdbenchError, match=r"is a study with other fixed settings, of its sweep file, .*: choose another"
    ):
        opened(url, fixed="abc")
    with pytest.raises(KdbenchError, match="is a study with another order of its grid"):
        opened(url, grid=[1])
    with pytest.raises(KdbenchError, match="is a study that looks for maximize, not for minimize"):
        open_study(open_storage(url), "s", ["minimize"], SPACE, None)


def test_a_storage_that_cannot_be_had_is_refused_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://someone:secret@127.0.0.1:1/nowhere"
    with pytest.raises(KdbenchError, match="cannot be used") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert shown(url) == "postgresql+psycopg://someone:***@127.0.0.1:1/nowhere"
    (tmp_path / "file").write_text("no database")
    with pytest.raises(KdbenchError, match="cannot be used"):
        open_storage(str(tmp_path / "file"))
    with pytest.raises(KdbenchError, match="driver"):
        open_storage("mssql+nodriver://x/y")


def test_a_storage_that_another_program_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "BUSY_SECONDS", 0.1)
    file = tmp_path / "studies.db"
    opened(str(file)).fill()
    slots = opened(str(file), total=6)
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(KdbenchError, match=r"studies\.db cannot be used \(database is locked\): check"):
            open_storage(str(file))
        with pytest.raises(KdbenchError, match="database is locked"), reachable(str(file)):
            slots.fill()
        other.execute("ROLLBACK")
    other.close()
    slots.fill()
    assert slots.left() == 6, "nothing is lost"


def test_a_lock_that_a_killed_process_holds_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a folder that is named relative to this one; one whose owner lives is waited for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storages, "GRACE_SECONDS", 3)
    code = """
import os, sys
from kdbench.search.storage import lock_of
with lock_of(sys.argv[1]):
    os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", code, "folder/studies.log"], check=False)
    assert done.returncode == 9 and (tmp_path / "folder" / "studies.log.slots.lock").is_symlink()
    start, busy = time.monotonic(), time.process_time()
    with lock_of("folder/studies.log"):
        assert 3 < time.monotonic() - start < 10
        assert time.process_time() - busy < 1, "it waits, and does not spin"
        waiting = threading.Thread(target=lambda: lock_of("folder/studies.log").__enter__(), daemon=True)
        waiting.start()
        waiting.join(timeout=5)
        assert waiting.is_alive(), "this process lives"


def test_a_storage_is_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("a/s.log") == str(tmp_path / "a" / "s.log")
    assert located("sqlite:///s.db") == f"sqlite:///{tmp_path / 's.db'}" == located(f"sqlite:///{tmp_path / 's.db'}")
    for same in ("sqlite:///:memory:", "sqlite://", "postgresql+psycopg://a@b/c"):
        assert located(same) == same


def test_a_database_of_another_version_of_optuna_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    opened(str(file))
    with sqlite3.connect(file) as other:
        other.execute("UPDATE alembic_version SET version_num = 'v1.3.0.a'")
    other.close()
    with pytest.raises(KdbenchError, match=r"studies\.db was made by another version of Optuna \(.* storage upgrade"):
        open_storage(str(file))


def test_a_journal_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "studies.log"
    for missing in (journal, tmp_path / "studies.log.slots", None):
        with (
            pytest.raises(KdbenchError, match=r"studies\.log cannot be used \(.*Permission denied"),
            reachable(str(journal)),
        ):
            raise PermissionError(13, "Permission denied", *([str(missing)] if missing else []))
    with pytest.raises(FileNotFoundError), reachable(str(journal)):  # a mistake elsewhere
        raise FileNotFoundError(2, "No such file", str(tmp_path / "rows.csv"))


def test_the_same_seed_makes_the_same_trials_whoever_makes_them(tmp_path: Path) -> None:
    """A slot's values do not depend on how many were drawn before it in this process."""

    def drawn(name: str, commands: int) -> list[float]:
        values = {}
        for command in range(commands):
            slots = opened(str(tmp_path / name), total=4)
            slots.fill()
            while (trial := slots.take()) is not None:
                values[trial.user_attrs[SLOT]] = trial.suggest_float("x", 0.0, 1.0)
                slots.study.tell(trial, 1.0)
                if command + 1 < commands:
                    break
        return [values[slot] for slot in range(4)]

    assert drawn("a.db", 1) == drawn("b.db", 3)
