"""Every file of `sweeps/` composes, and has as many cells as it says it has, with every budget it can have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdbench.config import CONF_DIR
from kdbench.planning import plan_run
from kdbench.quick_composition import compose_quickly
from kdbench.signature import signature
from kdbench.sweep import Job
from kdbench.train import main

SWEEPS = Path(__file__).parents[2] / "sweeps"
BUDGETS = ("smoke", "cpu", "gpu")
CELLS: dict[str, int | dict[str, int]] = {
    "batching": 30,
    "cmow/claims": {"smoke": 18, "cpu": 99, "gpu": 440},
    "cmow/tables": {"smoke": 40, "cpu": 120, "gpu": 2400},
    "costs": 12,
    "demo": 6,
    "glue_small": 36,
    "glmd/rivals": {"smoke": 10, "cpu": 60, "gpu": 200},
    "kronecker/nearest": {"smoke": 12, "cpu": 54, "gpu": 640},
    "kronecker/squad": {"smoke": 12, "cpu": 18, "gpu": 160},
    "skdbert/composition": {"smoke": 14, "cpu": 70, "gpu": 280},
    "skdbert/rivals": {"smoke": 18, "cpu": 90, "gpu": 355},
    "skdbert/samplers": {"smoke": 12, "cpu": 60, "gpu": 240},
    "unified/guideline": {"smoke": 28, "cpu": 42, "gpu": 280},
    "unified/initialization": {"smoke": 64, "cpu": 96, "gpu": 640},
    "unified/knowledge": {"smoke": 16, "cpu": 78, "gpu": 760},
    "unified/knowledge_pairs": {"smoke": 28, "cpu": 42, "gpu": 280},
    "unified/matching": {"smoke": 44, "cpu": 66, "gpu": 840},
    "unified/size_ladder": {"smoke": 16, "cpu": 72, "gpu": 480},
    "unified/width_depth": {"smoke": 16, "cpu": 48, "gpu": 320},
}
"""The jobs of every file, its controls among them; of a file with a budget, those of each."""

LEFT_OUT = {("cmow/claims", "cpu"): 3, ("cmow/claims", "gpu"): 8, ("skdbert/rivals", "gpu"): 1}
"""Cells a seed that a file has on the last task of a budget and excludes on others: those of `cmow_joint` on single
texts, and what needs classes on glue/stsb."""

WITH_BUDGET = [name for name, counts in CELLS.items() if isinstance(counts, dict)]
WITHOUT = [name for name in CELLS if name not in WITH_BUDGET]
SHARED = [*((name, "cpu") for name in WITH_BUDGET), ("kronecker/squad", "smoke")]
"""Budgets that read `paths.data`."""

EMBEDDED = [(name, "smoke") for name in WITH_BUDGET if (name, "smoke") not in SHARED]


def stub_plan(cfg: DictConfig, store: Any) -> Any:
    """A plan with the run's signature alone: neither data nor teacher is looked at."""
    content: Any = OmegaConf.to_container(cfg)
    return SimpleNamespace(signature=signature("run", {**content, "axes": {}}), everything=tuple, finished=False)


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hydra]:
    monkeypatch.setattr("kdbench.planning.plan_run", stub_plan)
    monkeypatch.setattr("kdbench.teacher_outputs.reading.demands", lambda cfg, plan: [])
    monkeypatch.setenv("KDBENCH_STORE", str(tmp_path / "store"))
    version.setbase("1.3")
    compose_quickly()
    path = create_config_search_path(str(CONF_DIR))
    path.prepend("command-line", f"file://{SWEEPS}", SearchPathQuery(provider="schema"))
    yield Hydra.create_main_hydra2("kdbench", path)
    GlobalHydra.instance().clear()
    version.setbase(None)


def cells(hydra: Hydra, name: str, *overrides: str) -> list[Job]:
    found: list[Job] = hydra.multirun(
        name, lambda cfg: pytest.fail("a plan runs nothing"), ["plan=true", *overrides], False
    )
    return found


def distinct(jobs: list[Job]) -> int:
    """The number of runs, none of which is impossible or the same as another."""
    wanted = [job for job in jobs if job.status != "excluded"]
    assert {job.status for job in wanted} == {"planned"}
    assert len({job.signature for job in wanted}) == len(wanted)
    return len(wanted)


def counted(name: str, budget: str) -> int:
    counts = CELLS[name]
    assert isinstance(counts, dict)
    return counts[budget]


def swept(hydra: Hydra, name: str, budget: str) -> Any:
    """What the file itself sweeps over, by axis."""
    return hydra.compose_config(name, [f"budget={budget}"], RunMode.MULTIRUN).hydra.sweeper.params


def read(budget: str) -> Any:
    return OmegaConf.load(SWEEPS / "budget" / f"{budget}.yaml").budget


def values(jobs: list[Job], axis: str) -> set[str | None]:
    return {job.axes.get(axis) for job in jobs}


def test_every_file_is_counted() -> None:
    names = {path.relative_to(SWEEPS).with_suffix("").as_posix() for path in SWEEPS.rglob("*.yaml")}
    assert {name for name in names if not name.startswith(("budget/", "search/", "wandb/"))} == set(CELLS)
    assert {name.removeprefix("budget/") for name in names if name.startswith("budget/")} == set(BUDGETS)
    assert all(set(counts) == set(BUDGETS) for counts in CELLS.values() if isinstance(counts, dict))


@pytest.mark.parametrize("name", CELLS)
def test_a_sweep_file_says_its_question_and_its_command(name: str) -> None:
    lines = (SWEEPS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    package, question = (lines[0], lines[1]) if "/" in name else ("# @package _global_", lines[0])
    assert package == "# @package _global_"  # without it Hydra nests the file under its folder's name
    assert question.startswith("# ") and "@package" not in question
    assert any(line.startswith("# ") and f"kdbench -cd sweeps -cn {name}" in line for line in lines)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_sweep_file_has_its_cells(hydra: Hydra, name: str) -> None:
    params = hydra.compose_config(name, [], RunMode.MULTIRUN).hydra.sweeper.params
    seeds = params.get("seed", "1").split(",")
    assert distinct(cells(hydra, name, "seed=1")) * len(seeds) == CELLS[name]


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("name", "budget"), EMBEDDED + [pytest.param(*each, marks=pytest.mark.shared) for each in SHARED]
)
def test_a_budget_has_its_cells_which_can_run_and_have_their_controls(
    hydra: Hydra, name: str, budget: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real check, teacher and data of the budget."""
    monkeypatch.setattr("kdbench.planning.plan_run", plan_run)
    data = [f"paths.data={request.getfixturevalue('shared_data')}"] if (name, budget) in SHARED else []
    have_matched_controls(of_one_task_and_seed(hydra, name, budget, *data))


@pytest.mark.parametrize("name", WITH_BUDGET)
def test_a_budget_of_a_gpu_has_its_cells(hydra: Hydra, name: str) -> None:
    """Without a look at data or teacher."""
    of_one_task_and_seed(hydra, name, "gpu")


def of_one_task_and_seed(hydra: Hydra, name: str, budget: str, *overrides: str) -> list[Job]:
    """The cells of a budget's last task and first seed, which stand for all, since composing is slow: times the tasks
    and the seeds, they are as many as are counted."""
    params = swept(hydra, name, budget)
    tasks, seeds = params.data.split(","), params.seed.split(",")
    last = [f"{axis}={params[axis].split(',')[-1]}" for axis in ("data", "ood") if axis in params]
    jobs = cells(hydra, name, f"budget={budget}", *last, f"seed={seeds[0]}", *overrides)
    assert (distinct(jobs) * len(tasks) - LEFT_OUT.get((name, budget), 0)) * len(seeds) == counted(name, budget)
    return jobs


def have_matched_controls(jobs: list[Job]) -> None:
    """Whether each cell has beside it the gold labels alone, with the same student, beginning, data and seed."""
    controls = {job.signature: job for job in jobs if job.control}
    for job in jobs:
        if not job.control and job.status != "excluded":
            control = controls[job.matched]
            assert control.axes["method"] == "label"
            for axis in ("data", "student", "student/size", "initialization", "seed"):
                assert control.axes.get(axis) == job.axes.get(axis)


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_sets_what_the_axes_interpolate(hydra: Hydra, budget: str) -> None:
    one_task = cells(hydra, "unified/knowledge", f"budget={budget}", "data=glue/rte", "knowledge=logits")
    one_seed = cells(hydra, "unified/knowledge", f"budget={budget}", "seed=1", "knowledge=logits")
    assert read(budget).name == budget
    assert values(one_seed, "data") == set(read(budget).tasks.split(","))
    assert values(one_task, "seed") == set(read(budget).seeds.split(","))
    assert values(one_seed, "student/size") == {"l6_h768" if budget == "gpu" else "l3_h384"}
    assert values(one_seed, "teacher") == {"bert_base" if budget == "gpu" else "minilm"}
    assert not any("budget" in axis for job in one_seed + one_task for axis in job.axes)


def test_the_command_line_wins_over_the_budget(hydra: Hydra) -> None:
    one = ("seed=7", "data=glue/rte", "student/size=l2_h192", "knowledge=logits,hidden,attention")
    jobs = cells(hydra, "unified/knowledge", "budget=cpu", *one)
    assert [values(jobs, axis) for axis in ("seed", "data", "student/size")] == [{"7"}, {"glue/rte"}, {"l2_h192"}]
    assert len(jobs) == 4
    jobs = cells(hydra, "unified/knowledge", "budget=smoke", "budget.seeds='5,6'", "budget.tasks=generated")
    assert (values(jobs, "seed"), values(jobs, "data"), len(jobs)) == ({"5", "6"}, {"generated"}, 8)
    assert not any("budget" in axis for job in jobs for axis in job.axes)


@pytest.mark.embedded
def test_a_budget_is_no_part_of_a_signature(hydra: Hydra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values under another budget are the same runs."""
    monkeypatch.setattr("kdbench.planning.plan_run", plan_run)
    smoke = cells(hydra, "unified/knowledge", "budget=smoke", "data=generated", "seed=1", "knowledge=logits")
    values = ["data.source=generated", "data.train_rows=256", "+data.evaluation_rows=256", "training.epochs=1"]
    values += ["teacher.training.epochs=1", "teacher.optimizer.lr=5e-5"]
    cpu = cells(hydra, "unified/knowledge", "budget=cpu", "data=generated", "seed=1", "knowledge=logits", *values)
    assert [job.signature for job in cpu] == [job.signature for job in smoke]
    assert [job.control for job in cpu] == [False, True]


@pytest.mark.parametrize(
    ("name", "budget", "sentence"),
    [
        ("unified/knowledge", "huge", "budget=huge is no option of budget: choose cpu, gpu, smoke"),
        ("unified/knowledge", "smoke,cpu", "brings settings of its own for hydra.sweeper, which Hydra drops inside"),
        ("demo", "smoke", "budget=smoke: there is no such key: "),
    ],
)
def test_a_budget_that_cannot_be_had_is_refused(
    name: str, budget: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
    monkeypatch.setattr(
        sys, "argv", ["kdbench", "-cd", str(SWEEPS), "-cn", name, f"budget={budget}", "plan=true", *quiet]
    )
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit):
        main()
    err = capfd.readouterr().err
    assert err.startswith("kdbench: ") and sentence in err and err.count("\n") == 1


def test_the_narrow_student_of_glue_small_begins_at_random_with_a_projection(hydra: Hydra) -> None:
    jobs = cells(hydra, "glue_small", "data=glue/rte", "seed=1")
    triples = {(job.axes["student/size"], job.axes["initialization"]) for job in jobs}
    assert triples == {("l3_h384", "teacher_uniform"), ("l2_h192", "random")}
    assert all(("projection=to_teacher" in job.overrides) == ("student/size=l2_h192" in job.overrides) for job in jobs)
