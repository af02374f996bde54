from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hydra.errors import HydraException
from omegaconf import DictConfig

from kdbench.outcome import Outcome
from kdbench.sweep import SweepError

if TYPE_CHECKING:
    from conftest import Application


def statuses(application: Application) -> dict[str, str]:
    content = json.loads((application.sweep_folder / "sweep.json").read_text())
    return {" ".join(job["overrides"]): job["status"] for job in content["jobs"]}


def test_every_cell_is_run_and_entered(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    application.sweep("knowledge=hidden,logits", "seed=1,2")
    assert application.computed() == ["hidden-1", "hidden-2", "logits-1", "logits-2"]
    content = json.loads((application.sweep_folder / "sweep.json").read_text())
    assert content["store"] == str(application.store)
    assert content["name"] == "first"
    assert content["jobs"][1] == {
        "axes": {"knowledge": "hidden", "seed": "2"},
        "control": False,
        "label": "knowledge=hidden seed=2",
        "matched": None,
        "number": 1,
        "overrides": ["knowledge=hidden", "seed=2"],
        "reason": None,
        "score": 0.2,
        "shared_by": 1,
        "signature": "hidden-2",
        "status": "finished",
    }
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "4 cells: 4 to run, 0 in the store already"
    assert out[1] == "  1 teacher to train: minilm on reviews"
    assert out[2:6] == [
        "[1/4] finished: knowledge=hidden seed=1 score 0.1 (0 reused, 0 failed, 3 left)",
        "[2/4] finished: knowledge=hidden seed=2 score 0.2 (0 reused, 0 failed, 2 left)",
        "[3/4] finished: knowledge=logits seed=1 score 0.1 (0 reused, 0 failed, 1 left)",
        "[4/4] finished: knowledge=logits seed=2 score 0.2 (0 reused, 0 failed, 0 left)",
    ]


def test_a_job_knows_its_sweep_and_has_its_own_folder(application: Application) -> None:
    application.sweep("seed=1,2")
    assert (application.store / "hidden-1" / "sweep").read_text() == "first"
    assert sorted(path.name for path in application.sweep_folder.iterdir() if path.is_dir()) == ["0", "1"]
    assert "seed: 2" in (application.sweep_folder / "1" / ".hydra" / "config.yaml").read_text()
    assert (application.sweep_folder / "multirun.yaml").is_file()


def test_the_plan_alone_runs_nothing_and_leaves_nothing(
    application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    application.sweep("knowledge=hidden,attention", "plan=true")
    assert not application.store.exists()
    assert not application.sweep_folder.exists()
    out = capsys.readouterr().out
    assert "2 cells: 1 to run, 0 in the store already, 1 impossible" in out
    assert "impossible, 1 cell: attention needs scores: choose knowledge=hidden\n    knowledge=attention" in out
    assert "to run: knowledge=hidden" in out


def test_the_plan_alone_refuses_a_sweep_without_a_possible_cell(application: Application) -> None:
    with pytest.raises(SweepError, match=r"none of the 2 cells of this sweep can run; .* attention needs scores"):
        application.sweep("knowledge=attention", "seed=1,2", "plan=true")


def test_impossible_cells_are_listed_and_the_others_run(application: Application) -> None:
    application.sweep("knowledge=attention,hidden,logits")
    assert application.computed() == ["hidden-1", "logits-1"]
    assert statuses(application) == {
        "knowledge=attention": "impossible",
        "knowledge=hidden": "finished",
        "knowledge=logits": "finished",
    }


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["knowledge=hidden,hiden"], HydraException, "knowledge/hiden"),
        (["knowledge.wieght=1,2"], HydraException, "wieght"),
        (["knowledge=hidden,vocabulary"], SweepError, "knowledge=vocabulary needs a column"),
        (["knowledge=attention"], SweepError, "none of the 1 cells"),
        (["seed=1,2", "paths.store=a,b"], SweepError, "one store"),
        (["extra=none,sweeping"], SweepError, "extra=sweeping brings settings of its own for hydra.sweeper"),
        (["extra=unused", "seed=1,2"], SweepError, "knowledge is not read by this method"),
        (["seed=interval(0,1)"], SweepError, "no list of values"),
        (["seed=1,2", "hydra.sweep.dir=FILE/inside"], SweepError, "hydra.sweep.dir=.* cannot be written"),
    ],
)
def test_a_mistake_stops_the_sweep_before_the_first_job(
    application: Application, overrides: list[str], error: type[Exception], words: str
) -> None:
    (application.folder / "FILE").write_text("")
    with pytest.raises(error, match=words) as caught:
        application.sweep(*overrides)
    assert not application.store.exists()
    assert not application.sweep_folder.exists()
    assert isinstance(caught.value, HydraException)  # which Hydra prints without a trace
    assert error is HydraException or "\n" not in str(caught.value)


def test_an_axis_that_some_cells_read_is_no_mistake(application: Application) -> None:
    application.sweep("extra=none,unused", "seed=1")
    assert application.computed() == ["hidden-1"]


@pytest.mark.parametrize(
    ("narrowed", "asked"), [([], {"knowledge", "seed"}), (["seed=1"], {"seed"}), (["knowledge=hidden"], {"knowledge"})]
)
def test_an_axis_of_a_file_counts_as_set_unless_others_of_it_are_changed(
    application: Application, monkeypatch: pytest.MonkeyPatch, narrowed: list[str], asked: set[str]
) -> None:
    """A file with a corpus among its axes, narrowed to a method that reads none, is no mistake of the user's."""
    seen: set[str] = set()
    monkeypatch.setattr(
        "kdbench.config.unused_axes", lambda cfg, overrides: seen.update(each.partition("=")[0] for each in overrides)
    )
    application.write(
        "study", "defaults: [train, _self_]\nhydra: {sweeper: {params: {knowledge: 'hidden,logits', seed: '1,2'}}}\n"
    )
    application.sweep(*narrowed, config_name="study")
    assert seen == asked


def test_an_option_with_sweeper_settings_works_outside_the_sweep(application: Application) -> None:
    application.sweep("extra=sweeping")
    assert application.computed() == ["hidden-1", "hidden-2"]


def test_cells_that_are_one_run_are_computed_once(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    application.sweep("knowledge=label", "seed=1,2,3")
    assert application.computed() == ["label-1"]
    assert set(statuses(application).values()) == {"finished"}
    out = capsys.readouterr().out
    assert "3 cells: 1 to run, 0 in the store already, 2 the same run as another" in out
    assert "[1/1] finished" in out


def test_a_sweep_file_with_zip_and_exclude(application: Application) -> None:
    application.write(
        "study",
        """
defaults: [train, _self_]
hydra:
  sweeper:
    params: {knowledge: 'hidden,logits', seed: '1,2', note: 'a,b'}
    zip: [[knowledge, note]]
    exclude: [{knowledge: logits, seed: [2, 3]}]
""",
    )
    application.sweep(config_name="study")
    assert statuses(application) == {
        "knowledge=hidden seed=1 note=a": "finished",
        "knowledge=hidden seed=2 note=a": "finished",
        "knowledge=logits seed=1 note=b": "finished",
        "knowledge=logits seed=2 note=b": "excluded",
    }
    application.sweep("seed=5", "hydra.sweeper.exclude=[]", config_name="study")
    assert application.computed()[-2:] == ["hidden-5", "logits-5"]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ("fail hidden-2", "the loss is NaN: lower optimizer.lr"),
        ("raise hidden-2", "RuntimeError: out of order"),
        ("exit hidden-2", "SystemExit: 3"),
    ],
)
def test_a_failing_job_stops_no_other_and_is_made_up_for_by_the_same_command(
    application: Application, launcher: str, note: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [f"hydra/launcher={launcher}", "seed=1,2,3"]
    command += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    with pytest.raises(SweepError) as caught:
        application.sweep(*command, f"note='{note}'")
    assert str(caught.value) == f"1 of 3 runs failed ({reason}): the same command runs only what is missing"
    assert set(application.computed()) == {"hidden-1", "hidden-3"}
    assert [*statuses(application).values()] == ["finished", "failed", "finished"]
    out = capfd.readouterr().out
    assert f"failed: seed=2: {reason} ({application.sweep_folder / '1'})" in out
    assert {line[:5] for line in out.splitlines() if line.startswith("[")} == {"[1/3]", "[2/3]", "[3/3]"}

    application.sweep(*command)
    assert set(application.computed()) == {"hidden-1", "hidden-2", "hidden-3"}
    assert [*statuses(application).values()] == ["reused", "finished", "reused"]
    out = capfd.readouterr().out
    assert "3 cells: 1 to run, 2 in the store already" in out
    assert "[3/3] finished: seed=2 score 0.2 (2 reused, 0 failed, 0 left)" in out


def test_nothing_of_a_failed_job_is_alive_in_the_next(application: Application) -> None:
    class Model:
        """Stands for what a job holds on the device."""

    made: list[weakref.ref[Model]] = []
    alive: list[int] = []

    def task(cfg: DictConfig) -> Outcome:
        gc.collect()
        alive.append(sum(model() is not None for model in made))
        model = Model()
        made.append(weakref.ref(model))
        raise RuntimeError("out of order")

    with pytest.raises(SweepError, match="3 of 3 runs failed"):
        application.sweep("seed=1,2,3", task=task)
    assert alive == [0, 0, 0]


def test_a_whole_sweep_in_the_store_launches_nothing(application: Application) -> None:
    application.sweep("seed=1,2")
    application.sweep("seed=1,2", task=lambda cfg: pytest.fail("nothing is to be run"))
    assert [*statuses(application).values()] == ["reused", "reused"]


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given:UserWarning")
def test_a_killed_worker_takes_only_its_own_job_along(application: Application) -> None:
    with pytest.raises(SweepError, match=r"1 of 4 runs failed .*TerminatedWorkerError"):
        application.sweep("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2,3,4", "note='die hidden-2'")
    assert set(application.computed()) == {"hidden-1", "hidden-3", "hidden-4"}
    assert [*statuses(application).values()] == ["finished", "failed", "finished", "finished"]


def test_two_sweeps_of_one_second_have_two_folders(application: Application) -> None:
    application.sweep_folder.mkdir(parents=True)
    with FileLock(application.sweep_folder / ".running.lock"):
        application.sweep("seed=1")
    assert not (application.sweep_folder / "sweep.json").exists()
    second = application.sweep_folder.with_name("first-2")
    assert {path.name for path in second.iterdir()} >= {"sweep.json", "0"}
    assert (application.store / "hidden-1" / "sweep").read_text() == "first-2"


def test_sweep_json_is_right_when_the_process_is_killed(application: Application) -> None:
    """The second job kills the process that runs it and the sweep; the first is entered by then."""
    done = run_script(application, "seed=1,2,3", "note='die hidden-2'")
    assert done.returncode == 9
    assert [*statuses(application).values()] == ["finished", "planned", "planned"]
    again = run_script(application, "seed=1,2,3")
    assert again.returncode == 0, again.stderr
    assert [*statuses(application).values()] == ["reused", "finished", "finished"]


def test_a_front_says_one_sentence_and_exits_with_1(application: Application) -> None:
    done = run_script(application, "seed=1,2", "note='fail hidden-2'")
    assert done.returncode == 1
    sentence = "1 of 2 runs failed (the loss is NaN: lower optimizer.lr): the same command runs only what is missing"
    assert done.stderr.startswith(f"{sentence}\n")
    assert "Traceback" not in done.stderr


def run_script(application: Application, *overrides: str) -> subprocess.CompletedProcess[str]:
    """The application as a process of its own, under Hydra's own front."""
    script = application.folder / "application.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import hydra, conftest
import kdbench.config, kdbench.planning, kdbench.teacher_outputs.reading
kdbench.config.complete, kdbench.planning.plan_run = conftest.stub_complete, conftest.stub_plan
kdbench.teacher_outputs.reading.demands = conftest.stub_demands
kdbench.config.unused_axes = lambda cfg, overrides: None
@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg):
    return conftest.make_task()(cfg)
main()
"""
    )
    command = [sys.executable, str(script), "-m", *overrides]
    return subprocess.run(command, capture_output=True, text=True, check=False)
