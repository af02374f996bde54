"""Every file of `sweeps/` composes, and has as many cells as it says it has."""

from __future__ import annotations

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
from omegaconf import DictConfig, OmegaConf

from kdbench.config import CONF_DIR
from kdbench.signature import signature
from kdbench.sweep import Job

SWEEPS = Path(__file__).parents[2] / "sweeps"
CELLS = {"demo": 6, "glue_small": 36}


def stub_plan(cfg: DictConfig, store: Any) -> Any:
    """A plan with the run's signature alone: neither data nor teacher is looked at."""
    content: Any = OmegaConf.to_container(cfg)
    return SimpleNamespace(signature=signature("run", {**content, "axes": {}}), steps=[], finished=False)


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hydra]:
    monkeypatch.setattr("kdbench.plan.plan_run", stub_plan)
    monkeypatch.setenv("KDBENCH_STORE", str(tmp_path / "store"))
    version.setbase("1.3")
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


def test_every_file_is_counted() -> None:
    assert {path.stem for path in SWEEPS.glob("*.yaml")} == set(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_a_sweep_file_says_its_question_and_has_its_cells(hydra: Hydra, name: str) -> None:
    first = (SWEEPS / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")
    jobs = cells(hydra, name)
    assert len({job.signature for job in jobs if job.status == "planned"}) == len(jobs) == CELLS[name]


def test_the_narrow_student_of_glue_small_begins_at_random_with_a_projection(hydra: Hydra) -> None:
    jobs = cells(hydra, "glue_small", "data=glue/rte", "seed=1")
    triples = {(job.axes["student/size"], job.axes["initialization"]) for job in jobs}
    assert triples == {("l3_h384", "teacher_uniform"), ("l2_h192", "random")}
    assert all(("projection=to_teacher" in job.overrides) == ("student/size=l2_h192" in job.overrides) for job in jobs)
