"""The control of a cell: what it keeps and with whom it is shared; sweeps with controls, stubbed and real."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hydra.errors import HydraException

from kdbench.control import controls, replacements
from kdbench.error import KdbenchError
from kdbench.grid import Cell, grid, parse
from kdbench.store import Store
from kdbench.sweep import SweepError
from kdbench.train import main

if TYPE_CHECKING:
    from conftest import Application

LABEL = {"method": "method=label"}
CONTROL = 'hydra.sweeper.control=["knowledge=label"]'


def of(*overrides: str, put: dict[str, str] = LABEL) -> tuple[str, ...]:
    (found,) = controls([Cell(overrides, "")], put)
    return found.overrides


@pytest.mark.parametrize(
    ("overrides", "control"),
    [
        (["method=unified", "knowledge=hidden", "seed=1"], ["method=label", "seed=1"]),
        (["knowledge=hidden", "seed=1"], ["seed=1", "method=label"]),
        (["data=glue/rte", "matching=last", "projection=to_teacher"], ["data=glue/rte", "method=label"]),
        (["objective=mse", "seed=1"], ["seed=1", "method=label"]),
        (["+knowledge.view=cls", "++matching.layers=[[1,2]]", "objective.temperature=4"], ["method=label"]),
        (["stages.task.terms.transfer.weight=3", "++stages.task.terms.x={weight:1}", "~stages.task.terms.soft"],
         ["method=label"]),
        (["matching@stages.task.terms.transfer.matching=last", "+term@stages.task.terms.more=axes"], ["method=label"]),
        (["~method", "+method=kd", "seed=2"], ["method=label", "seed=2"]),
    ],
)  # fmt: skip
def test_what_is_taught_is_dropped_and_the_control_put_in_place(overrides: list[str], control: list[str]) -> None:
    assert of(*overrides) == tuple(control)


@pytest.mark.parametrize(
    "override",
    [
        "student/size=l3_h384",
        "student.layers=2",
        "initialization=teacher_last",
        "matching@initialization.matching=first",
        "initialization.matching.layers=[[1,2]]",
        "data.train_rows=100",
        "training.epochs=4",
        "stages.task.training.epochs=4",
        "optimizer.lr=1e-3",
        "teacher=bert_base",
        "budget=smoke",
        "knowledgeable=1",
    ],
)
def test_everything_else_is_kept(override: str) -> None:
    assert of(override) == (override, "method=label")


def test_a_control_may_say_more_than_its_method() -> None:
    put = replacements(["method=unified", "knowledge=label", "training.epochs=2"])
    assert of("knowledge=hidden", "training.epochs=9", "seed=1", put=put) == (
        "knowledge=label", "training.epochs=2", "seed=1", "method=unified",
    )  # fmt: skip


def test_a_control_of_several_values_is_refused() -> None:
    with pytest.raises(KdbenchError, match=r"several values for method \(label,kd\), .*: give one of them"):
        replacements(["method=label,kd"])


@pytest.mark.parametrize(
    ("lines", "zipped", "number"),
    [
        (["method=unified", "knowledge=hidden,logits", "matching=first,last", "seed=1,2,3"], [], 3),
        (["method=unified,kd", "knowledge=hidden,logits", "student/size=a,b", "seed=1,2"], [], 4),
        (["student/size=a,b", "projection=x,y", "knowledge=hidden,logits"], [["student/size", "projection"]], 2),
        (["student/size=a,b", "projection=x,y", "knowledge=hidden,logits"], [], 2),
        (["knowledge=hidden"], [], 1),
    ],
)
def test_cells_that_differ_in_what_is_taught_alone_share_one(lines: list[str], zipped: Any, number: int) -> None:
    cells = grid(parse(lines), zipped, ()).cells
    found = controls(cells, LABEL)
    assert len(found) == len(cells)
    assert len(set(found)) == number
    varied = {"seed", "student/size"}
    for cell, control in zip(cells, found, strict=True):
        chosen = [[each for each in one.overrides if each.split("=")[0] in varied] for one in (cell, control)]
        assert chosen[0] == chosen[1]


def test_labels_tell_the_controls_apart() -> None:
    cells = grid(parse(["data=glue/rte", "method=unified", "knowledge=hidden,logits", "seed=1,2"]), (), ()).cells
    assert [control.label for control in dict.fromkeys(controls(cells, LABEL))] == [
        "method=label seed=1",
        "method=label seed=2",
    ]


def jobs(application: Application) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((application.sweep_folder / "sweep.json").read_text())["jobs"]
    return found


def names(application: Application, control: bool) -> list[str]:
    return [" ".join(job["overrides"]) for job in jobs(application) if job["control"] is control]


def test_controls_are_planned_run_and_entered_after_the_cells(
    application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    application.sweep("knowledge=hidden,logits", "note=a,b", CONTROL)
    assert names(application, control=True) == ["knowledge=label note=a"]
    assert [job["status"] for job in jobs(application)] == ["finished"] * 5
    assert [job["number"] for job in jobs(application)] == [0, None, 1, None, 2]
    assert {job["matched"] for job in jobs(application)[:4]} == {"label-1"}
    assert jobs(application)[4]["matched"] is None
    assert application.computed() == ["hidden-1", "logits-1", "label-1"]
    out = capsys.readouterr().out
    assert out.startswith(
        "5 cells, 1 control among them: 3 to run, 0 in the store already, 2 the same run as another\n"
    )
    assert "[3/3] finished: knowledge=label note=a score 0.1 (0 reused, 0 failed, 0 left)" in out


def test_a_cell_that_is_a_control_serves_as_one(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    application.sweep("knowledge=hidden,label", "seed=1,2", CONTROL)
    assert [(job["label"], job["control"], job["matched"]) for job in jobs(application)] == [
        ("knowledge=hidden seed=1", False, "label-1"),
        ("knowledge=hidden seed=2", False, "label-1"),
        ("knowledge=label seed=1", True, "label-1"),
        ("knowledge=label seed=2", True, "label-1"),
    ]
    assert "4 cells, 1 control among them: 3 to run" in capsys.readouterr().out


def test_the_same_sweep_again_launches_nothing(application: Application) -> None:
    application.sweep("knowledge=hidden,logits", CONTROL)
    first = application.computed()
    application.sweep("knowledge=hidden,logits", CONTROL, task=lambda cfg: pytest.fail("nothing is to be run"))
    assert [job["status"] for job in jobs(application)] == ["reused"] * 3
    assert names(application, control=True) == ["knowledge=label"]
    assert application.computed() == first


def test_excluded_and_impossible_cells_get_no_control(application: Application) -> None:
    application.write(
        "study",
        """
defaults: [train, _self_]
hydra:
  sweeper:
    params: {knowledge: 'attention,hidden', note: 'a,b,c'}
    exclude: [{note: c}]
    control: [knowledge=label, seed=4]
""",
    )
    application.sweep(config_name="study")
    found = {job["label"]: job["status"] for job in jobs(application)}
    assert found == {
        "knowledge=attention note=a": "impossible",
        "knowledge=attention note=b": "impossible",
        "knowledge=attention note=c": "excluded",
        "knowledge=hidden note=a": "finished",
        "knowledge=hidden note=b": "finished",
        "knowledge=hidden note=c": "excluded",
        "knowledge=label note=a seed=4": "finished",
    }


def test_a_control_that_cannot_run_is_listed_as_any_cell(
    application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    application.sweep("knowledge=hidden,logits", 'hydra.sweeper.control=["knowledge=attention"]')
    assert [job["status"] for job in jobs(application)] == ["finished", "finished", "impossible"]
    assert {job["matched"] for job in jobs(application)} == {None}
    out = capsys.readouterr().out
    assert "3 cells, 1 control among them: 2 to run, 0 in the store already, 1 impossible" in out
    assert "impossible, 1 cell: attention needs scores: choose knowledge=hidden\n    knowledge=attention" in out


@pytest.mark.parametrize(
    ("control", "error", "words"),
    [
        ("knowledge=lable", HydraException, "knowledge/lable"),
        ("knowledge.wieght=2", HydraException, "wieght"),
        ("knowledge=vocabulary", SweepError, "knowledge=vocabulary needs a column"),
        ("seed=1,2", SweepError, r"hydra\.sweeper\.control has several values for seed \(1,2\)"),
    ],
)
def test_a_mistake_in_the_control_stops_the_sweep(
    application: Application, control: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        application.sweep("knowledge=hidden", f'hydra.sweeper.control=["{control}"]')
    assert not application.store.exists() and not application.sweep_folder.exists()


def test_an_axis_that_only_the_control_does_not_have_is_still_refused(application: Application) -> None:
    """The control drops the axis: it must not stand for a cell that reads it."""
    with pytest.raises(SweepError, match="knowledge is not read by this method"):
        application.sweep("extra=unused", 'hydra.sweeper.control=["extra=none"]')


def test_a_real_sweep_on_generated_sentences(
    tiny: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two knowledges, two seeds: four students and two controls, which differ from them in the terms alone."""
    store, folder = tmp_path / "store", tmp_path / "sweep"
    grid = ["method=unified", "knowledge=hidden,logits", "matching=last", "seed=1,2", "student.dropout=0.1"]
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none", f"hydra.sweep.dir={folder}"]
    command = [*tiny(*grid, "training.max_steps=2", "teacher.training.max_steps=2"), *quiet]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kdbench", "-m", *command, 'hydra.sweeper.control=["method=label"]'])
    main()
    found = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert [job["status"] for job in found] == ["finished"] * 6
    assert [job["control"] for job in found] == [False] * 4 + [True] * 2
    records = {
        job["signature"]: json.loads((store / "run" / job["signature"] / "record.json").read_text()) for job in found
    }
    kinds = [artefact.kind for artefact in Store(store).artefacts()]
    assert kinds.count("teacher") == 1 and kinds.count("run") == 6
    for job in found[:4]:
        cell, control = records[job["signature"]], records[job["matched"]]
        assert job["axes"]["seed"] == control["axes"]["seed"]
        assert set(control["axes"]) == set(cell["axes"]) - {"knowledge", "matching"}
        differing = {key for key, node in cell["config"].items() if node != control["config"].get(key)}
        assert differing <= {"axes", "stages", "knowledge", "matching", "teacher"}
        assert {**cell["config"]["teacher"], "shared_by": 1} == {**control["config"]["teacher"], "shared_by": 1}
        assert list(control["config"]["stages"]["task"]["terms"]) == ["label"]
        assert cell["config"]["stages"]["task"]["training"] == control["config"]["stages"]["task"]["training"]
    main()
    again = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert [(job["status"], job["signature"]) for job in again] == [("reused", job["signature"]) for job in found]
