"""A sweep with `logger=wandb` on a machine without a key: its offline runs, and its own, read back complete."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.example_table import example_table
from kdbench.finished_run import FinishedRun
from kdbench.json_file import read_json
from kdbench.store import Store
from tests.command_line import in_process
from tests.offline_wandb import read_run, read_table

FRONT = "import sys; sys.argv[0] = 'kdbench'; from kdbench.train import main; main()"


@pytest.fixture(scope="module")
def sweep(tiny_in: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of two methods, the second of which is uploaded with its student."""
    folder = tmp_path_factory.mktemp("wandb")
    own = tiny_in(folder / "store", "method=label,soft", "logger=wandb", "logger.wandb.examples=7")
    more = ["logger.wandb.artifact=true", "training.log_every_steps=2", f"hydra.sweep.dir={folder / 'study'}"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment = kept | {"HOME": str(folder / "home"), "WANDB_SILENT": "true"}
    command = [sys.executable, "-c", FRONT, "-m", *own, *more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "study"


@pytest.fixture(scope="module")
def jobs(sweep: Path) -> list[dict[str, Any]]:
    return list(read_json(sweep / "sweep.json")["jobs"])


def test_a_run_has_its_configuration_its_axes_and_every_number_of_its_record(sweep: Path, jobs: Any) -> None:
    for number, job in enumerate(jobs):
        record = FinishedRun(Store(sweep.parent / "store"), job["signature"]).record
        found = read_run(sweep / str(number))
        assert (found["group"], found["job_type"], found["exit"]) == ("study", "run", 0)
        assert found["config"]["axis/method"] == record["axes"]["method"]
        assert found["config"]["optimizer"] == record["config"]["optimizer"]
        noted = {
            (row["step"], name): value for row in found["history"] for name, value in row.items() if name != "step"
        }
        for row in record["history"]:
            for name, value in row.items():
                if name not in ("stage", "step"):
                    assert noted[row["step"], name] == value
        for name, value in record["metrics"].items():
            assert found["summary"][name] == value
        assert found["summary"]["cost/parameters"] == record["student"]["parameters"]["total"]
        assert (f"student-{job['signature']}", "model") in found["artifacts"]
    taught = read_run(sweep / "1")["history"]
    assert any("train/term/soft" in row for row in taught), "every term has a curve"


def test_its_tables_are_those_of_the_store(sweep: Path, jobs: Any) -> None:
    run = FinishedRun(Store(sweep.parent / "store"), jobs[1]["signature"])
    expected = example_table(run, limit=7)
    assert expected is not None
    table = read_table(sweep / "1", "examples/validation")
    assert table["columns"] == list(expected.columns) and len(table["data"]) == 7
    assert [row[0] for row in table["data"]] == list(expected["index"])
    counted = read_table(sweep / "1", "confusion/validation")
    assert [row[0] for row in counted["data"]] == list(run.task.labels)
    right = sum(row[1 + place] for place, row in enumerate(counted["data"]))
    total = sum(sum(row[1:]) for row in counted["data"])
    assert right / total == pytest.approx(run.record["metrics"]["validation/accuracy"])


def test_the_sweep_has_a_run_with_the_table_of_its_runs(sweep: Path, jobs: Any) -> None:
    found = read_run(sweep)
    assert (found["group"], found["job_type"], found["name"]) == ("study", "sweep", "study summary")
    table = read_table(sweep, "runs")
    place = table["columns"].index("signature")
    assert {row[place] for row in table["data"]} == {job["signature"] for job in jobs}
    assert "score_mean" in read_table(sweep, "summary")["columns"]


def test_a_pruned_trial_is_no_failed_run(
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A search of two trials, the second of which learns nothing: both runs have ended well, and one says it."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    own = tiny("method=label", "initialization=random", "training.epochs=3", "logger=wandb")
    searched = ["hydra/sweeper/sampler=grid", "hydra.sweeper.sampler.seed=null", "optimizer.lr=1e-2,1e-9"]
    pruner = ["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.n_trials=2"]
    given = [each for each in own if not each.startswith("optimizer.lr")]
    arguments = ["-m", "hydra/sweeper=optuna", *given, *searched, *pruner, f"hydra.sweep.dir={tmp_path / 'search'}"]
    code, out, err = in_process(arguments, capfd)
    assert code == 0, err
    assert "2 of 2 trials: 1 finished, 1 pruned" in out
    finished, pruned = (read_run(tmp_path / "search" / str(trial)) for trial in (0, 1))
    assert [finished["exit"], pruned["exit"]] == [0, 0]
    assert "pruned" not in finished["summary"] and pruned["summary"]["pruned"] is True
    assert len(pruned["history"]) < len(finished["history"])
