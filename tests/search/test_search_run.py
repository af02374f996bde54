"""Whole searches: pruned, killed and continued, shared by processes, of several objectives, warm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from joblib.externals.loky import get_reusable_executor
from optuna.trial import TrialState

import kdbench
from kdbench.report.collect import collect
from kdbench.report.command import write_report
from kdbench.search.pruning import REPORTED
from kdbench.search.storage import open_storage
from kdbench.search.study import OWNER, SLOT
from kdbench.search.told import REASON, SIGNATURE
from kdbench.store import Store
from tests.command_line import in_process

Overrides = Callable[..., list[str]]
Command = Callable[..., list[str]]
FRONT = "import sys; sys.argv[0] = 'kdbench'; from kdbench.train import main; main()"


@pytest.fixture
def search(tiny: Overrides, tmp_path: Path) -> Command:
    """The arguments of a search: `kdbench -m hydra/sweeper=optuna ...`."""

    def made(*more: str) -> list[str]:
        given = {each.partition("=")[0] for each in more}
        own = [each for each in tiny("method=label", "initialization=random") if each.partition("=")[0] not in given]
        return ["-m", "hydra/sweeper=optuna", f"hydra.sweep.dir={tmp_path / 'search'}", *own, *more]

    return made


@pytest.fixture
def run(search: Command, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The output of a search that ends well."""

    def ends(*more: str) -> str:
        code, out, err = in_process(search(*more), capfd)
        assert code == 0, out + err
        return out

    return ends


@pytest.fixture
def refused(search: Command, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that a search ends with that is refused."""

    def ends(*more: str) -> str:
        code, _, err = in_process(search(*more), capfd)
        assert code != 0 and "Traceback" not in err, err
        return err.strip().splitlines()[-1]

    return ends


def process(arguments: list[str]) -> subprocess.Popen[bytes]:
    """The same in a process of its own, which can be killed."""
    silent = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", FRONT, *arguments], stdout=silent, stderr=silent)


RATE = "optimizer.lr=tag(log,interval(1e-6,3e-2))"
PRUNED = ["training.epochs=4", "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=2"]


def study_of(url: str, name: str | None = None) -> optuna.Study:
    storage = open_storage(url)
    summaries = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=name or summaries[0].study_name, storage=storage)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store' / 'studies.db'}"


def ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def test_a_search_is_pruned_and_answers_in_words_and_files(
    run: Callable[..., str], storage: str, tmp_path: Path
) -> None:
    """A temperature is searched only where the method has one; the report reads the search's folder as a sweep's."""
    temperature = "stages.task.terms.soft.objective.temperature=interval(1,8)"
    said = run(RATE, "method=label,kd", temperature, "hydra.sweeper.n_trials=7", *PRUNED)
    trials = ended(study_of(storage))
    assert len(trials) == 7
    for trial in trials:
        assert (trial.params["method"] == "kd") == (temperature.partition("=")[0] in trial.params)
        done, planned = trial.user_attrs[REPORTED]
        assert planned == 4 and (done == 4 if trial.state == TrialState.COMPLETE else done < 4)
        assert trial.state == TrialState.PRUNED or trial.intermediate_values[4] <= trial.values[0]
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert f"7 of 7 trials: {len(finished)} finished, {7 - len(finished)} pruned" in said
    best = max(finished, key=lambda trial: (trial.values[0], -trial.number))
    found = yaml.safe_load((tmp_path / "search" / "optimization_results.yaml").read_text())
    assert found["best_evaluated_params"] == best.params and found["best_evaluated_result"] == best.values[0]
    study = collect(tmp_path / "search")
    assert {job.signature for job in study.runs} == {trial.user_attrs[SIGNATURE] for trial in finished}
    (told,) = study.searches
    words = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}
    assert {each.number: (each.state, each.params) for each in told.trials} == {
        trial.number: (words[trial.state], trial.params) for trial in trials
    }
    assert [each.number for each in told.trials if each.best] == [best.number]


def test_a_search_that_is_killed_twice_ends_with_as_many_trials_as_it_was_to_have(
    search: Command, run: Callable[..., str], storage: str, tmp_path: Path
) -> None:
    """`kill -9` in the middle of a trial: it goes on with the same values, and no finished one runs again."""
    pruner = ["training.epochs=3", "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1"]
    seed = "hydra.sweeper.sampler.seed=116"  # a high rate, two that learn nothing, two high ones
    overrides = (RATE, "hydra.sweeper.n_trials=5", seed, *pruner)
    before: dict[int, str] = {}
    for least in (1, 3):
        killed = process(search(*overrides))
        until(lambda least=least: (tmp_path / "store" / "studies.db").exists() and done(storage) >= least)
        until(lambda: any(trial.state == TrialState.RUNNING for trial in study_of(storage).trials))
        killed.kill()
        killed.wait()
        before |= {trial.number: trial.user_attrs[SIGNATURE] for trial in ended(study_of(storage))}
    run(*overrides)
    trials = ended(study_of(storage))
    assert sorted(trial.user_attrs[SLOT] for trial in trials) == [0, 1, 2, 3, 4]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert 0 < len(pruned) < 5, "finished and pruned ones together are those that were asked for"
    assert all(trial.user_attrs[REPORTED][0] < 3 for trial in pruned)
    assert before.items() <= {trial.number: trial.user_attrs[SIGNATURE] for trial in trials}.items()
    lost = [trial for trial in study_of(storage).trials if trial.state == TrialState.FAIL and trial.params]
    again = [trial.params for trial in trials]
    assert all(trial.params in again for trial in lost), "an interrupted trial goes on with its values"
    assert "5 of 5 trials" in run(*overrides), "and nothing is left to do"


def test_two_trials_at_once_in_processes_of_a_launcher(run: Callable[..., str], storage: str, tmp_path: Path) -> None:
    """Each hears of the study from its own process: those that learn nothing are pruned there, and told as that."""
    rates = ["hydra/sweeper/sampler=grid", "hydra.sweeper.sampler.seed=null", "optimizer.lr=1e-2,2e-2,1e-9,2e-9"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2", "logger=tensorboard"]
    try:
        said = run(*rates, *launcher, "hydra.sweeper.n_trials=4", *PRUNED)
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert "4 of 4 trials: 2 finished, 2 pruned" in said
    assert [trial.state.name for trial in study_of(storage).trials] == ["COMPLETE"] * 2 + ["PRUNED"] * 2
    assert all(f"trial {number} pruned: optimizer.lr=" in said for number in (2, 3))
    events = [next((tmp_path / "search" / str(number)).glob("tensorboard/events.*")) for number in range(4)]
    processes = [file.name.split(".")[-2] for file in events]  # TensorBoard names its files after them
    assert processes[0] != processes[1] and str(os.getpid()) not in processes


def test_four_processes_on_one_server_make_the_trials_of_a_study_together(
    search: Command, database: str, tmp_path: Path
) -> None:
    """One is killed in the middle of a trial; the others make that one too, and none waits for it for ever."""
    overrides = search(RATE, "hydra.sweeper.n_trials=9", f"hydra.sweeper.storage={database}")
    workers = [process([*overrides, f"hydra.sweep.dir={tmp_path / worker}"]) for worker in "abcd"]

    def makes_one(worker: int) -> bool:
        return done(database) >= 0 and any(
            trial.state == TrialState.RUNNING and trial.user_attrs.get(OWNER, (None, 0))[1] == worker
            for trial in trials_of(database)
        )

    until(lambda: makes_one(workers[0].pid))
    workers[0].kill()
    codes = [worker.wait(timeout=300) for worker in workers]
    assert codes == [-signal.SIGKILL, 0, 0, 0]
    trials = ended(study_of(database))
    assert sorted(trial.user_attrs[SLOT] for trial in trials) == list(range(9))
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 9, "no two of them began with the same value"
    assert len({trial.user_attrs[SIGNATURE] for trial in trials}) == 9
    assert len({trial.user_attrs[OWNER][1] for trial in trials}) >= 3, "each had its part"


def trials_of(storage: str) -> list[optuna.trial.FrozenTrial]:
    try:
        return study_of(storage).trials
    except (IndexError, KeyError):
        return []


def done(storage: str) -> int:
    try:
        return len(ended(study_of(storage)))
    except (IndexError, KeyError):
        return 0


def until(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not come to that"
        time.sleep(0.1)


def test_two_objectives_and_a_bound(run: Callable[..., str], storage: str, tmp_path: Path) -> None:
    """The front is that of the finished trials within the bound; a smaller student and a better one are both on it."""
    said = run(
        "student.layers=choice(1,2)", "student.intermediate=choice(32,64)", "optimizer.lr=1e-2",
        "hydra.sweeper.n_trials=4", "hydra.sweeper.objectives=[score,parameters]", "hydra/sweeper/sampler=grid",
        "hydra.sweeper.constraints={parameters: '<= 20500'}",
    )  # fmt: skip
    assert study_of(storage).metric_names == ["score", "parameters"]
    trials = ended(study_of(storage))
    assert len({tuple(trial.params.items()) for trial in trials}) == 4, "a grid has every combination once"
    within = [trial for trial in trials if trial.values[1] <= 20500]
    assert 0 < len(within) < 4
    front = {
        trial.number for trial in within
        if not any(other.values[0] >= trial.values[0] and other.values[1] <= trial.values[1]
                   and other.values != trial.values for other in within)
    }  # fmt: skip
    found = yaml.safe_load((tmp_path / "search" / "optimization_results.yaml").read_text())["solutions"]
    assert sorted(each["values"] for each in found) == sorted(trial.values for trial in trials if trial.number in front)
    assert said.count("  front: score") == len(front)
    (told,) = collect(tmp_path / "search").searches
    assert {trial.number for trial in told.trials if trial.best} == front and len(told.trials) == 4
    assert {trial.number for trial in told.trials if trial.within} == {trial.number for trial in within}
    assert told.objectives == (("score", "maximize"), ("parameters", "minimize"))
    assert told.constraints == ("parameters <= 20500",)
    write_report(collect(tmp_path / "search"), tmp_path / "report")
    cells = pd.read_csv(tmp_path / "report" / "cells.csv")
    assert len(cells) == 4, "one cell a trial"
    shown = {(row.score, row.parameters_total) for row in cells[cells["front_parameters_total"]].itertuples()}
    assert {tuple(trial.values) for trial in trials if trial.number in front} <= shown, (
        "the bound is the search's alone"
    )


def test_a_warm_start_takes_the_runs_that_it_could_have_made(
    run: Callable[..., str], tiny: Overrides, storage: str
) -> None:
    label = tiny("method=label", "initialization=random")
    inside, outside = (kdbench.run(kdbench.compose([*label, f"optimizer.lr={rate}"])) for rate in ("2e-3", "0.5"))
    other = kdbench.run(kdbench.compose([*label, "optimizer.lr=2e-3", "seed=7"]))
    run(RATE, "hydra.sweeper.n_trials=1", "hydra.sweeper.warm_start=true")
    study = study_of(storage)
    known = {trial.user_attrs[SIGNATURE]: trial for trial in study.trials if SLOT not in trial.user_attrs}
    assert set(known) == {inside["signature"]}, (outside["signature"], other["signature"])
    assert known[inside["signature"]].params == {"optimizer.lr": 2e-3}
    assert len([trial for trial in study.trials if SLOT in trial.user_attrs]) == 1


def test_what_cannot_work_is_a_trial_that_a_sampler_learns_from(run: Callable[..., str], storage: str) -> None:
    """A student wider than a copy of its teacher's layers can be: impossible, said, and no failure."""
    said = run(
        "initialization=teacher_uniform,random", "student.width=choice(32,48)", "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=4",
    )  # fmt: skip
    trials = study_of(storage).trials
    impossible = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert len(trials) == 4 and len(impossible) == 1 and "initialization=random" in impossible[0].user_attrs[REASON]
    assert "4 of 4 trials: 3 finished, 0 pruned, 1 impossible" in said


def test_a_failure_is_said_and_made_up_for_by_the_same_command(
    run: Callable[..., str], refused: Callable[..., str], tmp_path: Path
) -> None:
    """The data of one choice are not there at first."""
    folder = tmp_path / "rows"
    folder.mkdir()
    text = "text,label\n" + "\n".join(f"the river number {n},{n % 2}" for n in range(32))
    (folder / "validation.csv").write_text(text)
    overrides = (
        "data.source=folder", f"data.folder.path={folder}", "data.splits={train: train, validation: validation}",
        "data.labels=[nature,machines]", RATE, "hydra.sweeper.n_trials=2",
    )  # fmt: skip
    assert "train" in refused(*overrides)
    (folder / "train.csv").write_text(text)
    assert "2 of 2 trials" in run(*overrides)


def test_a_plan_says_what_would_be_searched_and_makes_no_study(run: Callable[..., str], tmp_path: Path) -> None:
    said = run(RATE, "method=label,kd", "student.layers=range(1,3)", "hydra.sweeper.n_trials=7", "plan=true")
    assert "7 trials of tpe, maximize score" in said and "method=label,kd" in said
    assert (
        "optimizer.lr from 1e-06 to 0.03, on a logarithmic scale" in said and "student.layers from 1 to 2 by 1" in said
    )
    assert not (tmp_path / "store").exists() and not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    "keys",
    [
        ["sampler.n_startup_trials=5", "sampler.multivariate=true"],
        ["pruner=median", "pruner.interval_steps=2", "pruner.n_min_trials=3"],
        ["sampler=cmaes", "sampler.popsize=6", "sampler.n_startup_trials=2"],
        ["sampler=nsgaii", "sampler.mutation_prob=0.2", "pruner=hyperband", "pruner.max_resource=9"],
    ],
)
def test_what_optunas_class_takes_is_a_key_and_no_other_study(run: Callable[..., str], keys: list[str]) -> None:
    def first_words(*more: str) -> str:
        return run(RATE, "plan=true", *more).partition(":")[0]

    written = [f"hydra.sweeper.{key}" if "." in key.partition("=")[0] else f"hydra/sweeper/{key}" for key in keys]
    assert first_words(*written) == first_words() and first_words().startswith("study search-")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([RATE, "hydra.sweeper.custom_search_space=a.b"], "custom_search_space names a function of hydra-optuna-"),
        ([RATE, "+hydra.sweeper.custom_search_space=a.b"], "write each range under hydra.sweeper.params"),
        ([RATE, "hydra.sweeper.search_space.a.type=int"], "search_space is a key of an early hydra-optuna-sweeper:"),
        (["optimizer.rate=interval(0,1)"], "optimizer.rate is searched, but no configuration"),
        ([RATE, "hydra.sweeper.objectives=[validation/f7]"], "validation/f7 is no number of a run"),
        ([RATE, "hydra.sweeper.params=foo"], "hydra.sweeper.params=foo names no keys: give values by key"),
        (["training.batch_size=range(4,4)"], "is an empty range"),
        ([RATE, "hydra/sweeper/sampler=grid"], "needs a list of values of optimizer.lr"),
        ([RATE, "hydra.sweeper.objectives=[score,latency]", "hydra/sweeper/pruner=median"], "looks at one objective"),
        ([RATE, "hydra.sweeper.objectives=[latency]", "hydra/sweeper/pruner=median"], "known of finished runs alone"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    refused: Callable[..., str], overrides: list[str], sentence: str, tmp_path: Path
) -> None:
    assert sentence in refused(*overrides)
    assert not Store(tmp_path / "store").artefacts()
