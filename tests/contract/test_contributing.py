"""The examples of CONTRIBUTING.md, as they stand there, from a folder outside the package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from kdbench.config import CONF_DIR, complete, instantiate
from kdbench.cost import parameters
from kdbench.head import ClassHead

Overrides = Callable[..., list[str]]
ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every example, with the package `mine` in the place of `kdbench`."""
    folder = tmp_path_factory.mktemp("outside")
    examples = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    modules = {path.removesuffix(".py").replace("/", ".") for path in examples if path.endswith(".py")}
    for path, text in examples.items():
        for module in modules:
            text = text.replace(f"_target_: {module}.", f"_target_: mine.{module.removeprefix('kdbench.')}.")
        file = folder / path.replace("kdbench/", "mine/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def console(outside: Path, cwd: Path, *arguments: str) -> str:
    finished = subprocess.run(
        [str(Path(sys.executable).with_name("kdbench")), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(outside)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def composed(outside: Path, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        search = f"hydra.searchpath=[file://{outside / 'conf'}]"
        return compose("train", overrides=[search, *overrides], return_hydra_config=True)


def test_every_kind_of_option_has_an_example(outside: Path) -> None:
    found = {path.parent.relative_to(outside).as_posix() for path in outside.rglob("*.yaml")}
    groups = ["knowledge", "matching", "projection", "objective", "initialization", "student", "student/size", "data"]
    groups += [
        "student/classifier",
        "augmentation",
        "schedule",
        "temperature",
        "corpus",
        "teacher",
        "team",
        "sampling",
        "combiner",
        "method",
        "optimizer",
        "lr_schedule",
        "logger",
    ]
    assert found == {*(f"conf/{group}" for group in groups), "sweeps"}


def test_the_examples_run_together(outside: Path, tmp_path: Path, tiny: Overrides) -> None:
    rows = "subject,body,label\n" + "old machine,the engine was near,urgent\nriver,a new island,can wait\n" * 20
    (tmp_path / "tickets").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "tickets" / f"{split}.csv").write_text(rows, encoding="utf-8")
    own = ("data=", "student.layers", "student.width", "student.heads", "student.intermediate", "optimizer.lr")
    axes = {
        "data": "tickets",
        "knowledge": "first_token",
        "matching": "top",
        "projection": "narrow",
        "objective": "absolute",
        "initialization": "damped",
        "augmentation": "shortened",
        "student": "electra",
        "student/size": "l5_h160",
    }
    console(
        outside,
        tmp_path,
        *("--config-dir", str(outside / "conf")),
        *(override for override in tiny() if not override.startswith(own)),
        *(f"{axis}={option}" for axis, option in axes.items()),
        *("optimizer=rmsprop", "lr_schedule=root", "logger=quiet", "method=unified", "data.max_length=32"),
        "+schedule@stages.task.terms.transfer.schedule.weight=halved",
        *(f"paths.data={tmp_path}", "training.max_steps=2", "hydra.run.dir=job"),
    )
    job = json.loads((tmp_path / "job" / "run.json").read_text(encoding="utf-8"))
    record = json.loads((Path(job["store"]) / "run" / job["signature"] / "record.json").read_text(encoding="utf-8"))
    assert {axis: record["axes"][axis] for axis in axes} == axes
    assert set(record["metrics"]) == {"validation/f1", "validation/accuracy"}
    assert record["config"]["optimizer"]["_target_"] == "torch.optim.RMSprop"
    assert record["config"]["stages"]["task"]["terms"]["transfer"]["schedule"]["weight"]["times"] == 3.0
    assert not (tmp_path / "job" / "metrics.csv").exists()


def test_the_method_is_a_preset_that_the_command_line_can_change(outside: Path) -> None:
    cfg = complete(
        composed(outside, "method=top_layer", "data=generated", "objective@stages.task.terms.top.objective=mse")
    )
    assert list(cfg.stages.task.terms) == ["label", "top"]
    assert cfg.stages.task.terms.top.weight == 0.5
    assert cfg.stages.task.terms.top.objective._target_ == "kdbench.objective.mse.mse"


@pytest.mark.parametrize("how", ["sampling=newest", "combiner=loudest"])
def test_the_team_teaches_as_the_examples_say(outside: Path, tmp_path: Path, tiny: Overrides, how: str) -> None:
    """The team's own member is as wide as MiniLM, so that a tiny one stands in its place."""
    cfg = composed(outside, "team=two_halves", "sampling=newest")
    assert list(cfg.team) == ["half", "whole"] and cfg.sampling.factor == 2.0
    size = "student.layers: 1, student.width: 32, student.heads: 4, student.intermediate: 64"
    half = f"+team.half.student={{{size}, student.max_positions: 64, initialization: random}}"
    console(
        outside,
        tmp_path,
        *("--config-dir", str(outside / "conf"), *tiny("method=kd", "training.max_steps=2", how)),
        *(half, "+team.whole.teacher={}", "hydra.run.dir=job"),
    )
    job = json.loads((tmp_path / "job" / "run.json").read_text(encoding="utf-8"))
    record = json.loads((Path(job["store"]) / "run" / job["signature"] / "record.json").read_text(encoding="utf-8"))
    assert list(record["team"]) == ["half", "whole"] and record["axes"][how.split("=")[0]] == how.split("=")[1]


@pytest.mark.parametrize(
    "student",
    [["student=averaged", "student/size=l5_h160"], ["student=cmow", "student/classifier=squashed"]],
    ids=["student", "classifier"],
)
def test_a_student_without_layers_learns_as_the_examples_say(
    outside: Path, tmp_path: Path, tiny: Overrides, student: list[str]
) -> None:
    own = ("student.layers", "student.width", "student.heads", "student.intermediate", "student.max_positions")
    rest = [each for each in tiny("method=kd", "training.max_steps=30") if not each.startswith((*own, "optimizer.lr"))]
    choices = [*student, "initialization=random", "optimizer.lr=1e-2", "training.epochs=4", "hydra.run.dir=job"]
    choices.append("+temperature@stages.task.terms.soft.objective.temperature=torn")
    console(outside, tmp_path, "--config-dir", str(outside / "conf"), *rest, *choices)
    job = json.loads((tmp_path / "job" / "run.json").read_text(encoding="utf-8"))
    record = json.loads((Path(job["store"]) / "run" / job["signature"] / "record.json").read_text(encoding="utf-8"))
    assert record["metrics"]["validation/accuracy"] > 0.8, "the topic of a generated sentence is in its words"
    assert record["student"]["parameters"]["encoder"] == 0
    assert record["config"]["stages"]["task"]["terms"]["soft"]["objective"]["temperature"]["rise"] == 2.0


def test_the_temperature_rises_with_the_doubt_of_the_teacher(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(outside))
    key = "stages.task.terms.soft.objective.temperature"
    cfg = composed(outside, "method=kd", f"+temperature@{key}=torn")
    torn = instantiate(cfg.stages.task.terms.soft.objective.temperature)
    teacher = torch.tensor([[100.0, -100.0], [1.0, 1.0]])
    assert torn(torch.zeros(2, 2), teacher).tolist() == pytest.approx([2.0, 4.0])


def test_the_teacher_composes(outside: Path) -> None:
    teacher = composed(outside, "teacher=electra_small").teacher
    assert (teacher.source, teacher.model) == ("hub", "google/electra-small-discriminator")
    assert teacher.train and teacher.optimizer.lr == 1e-4


def test_the_size_has_the_numbers_of_its_comment(outside: Path) -> None:
    text = (outside / "conf" / "student" / "size" / "l5_h160.yaml").read_text(encoding="utf-8")
    said = re.search(r"encoder ([\d.]+) M, embeddings ([\d.]+) M, total ([\d.]+) M", text)
    assert said is not None
    with torch.device("meta"):
        student = instantiate(
            composed(outside, "student/size=l5_h160").student, vocabulary=30522, head=ClassHead(("no", "yes"))
        )
    counts = parameters(student)
    head = sum(parameter.numel() for parameter in student.heads["classifier"].parameters())
    built = counts["encoder"], counts["embeddings"], counts["total"] - head
    assert [f"{count / 1e6:.2f}" for count in built] == list(said.groups())


def test_the_sweep_is_planned_with_its_controls(outside: Path, tmp_path: Path, tiny_teacher: Path) -> None:
    shape = ["student.layers=2", "student.width=32", "student.heads=4", "student.intermediate=64"]
    teacher = ["teacher=folder", f"teacher.model={tiny_teacher}", "student.max_positions=64"]
    folders = [f"paths.store={tmp_path / 'store'}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    said = console(
        outside, tmp_path, "-cd", str(outside / "sweeps"), "-cn", "top", *shape, *teacher, *folders, "plan=true"
    )
    assert "6 cells, 2 controls among them: 6 to run, 0 in the store already" in said
