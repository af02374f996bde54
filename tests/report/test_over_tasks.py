"""Averages over tasks: closed forms, what counts and what is left out, and two published ones."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from kdbench.report.over_tasks import over_tasks, printed_over_tasks

AXES = ("data", "method", "ood")


def run(task: str, method: str, seed: int, score: float, **more: Any) -> dict[str, Any]:
    return {"task": task, "data": task, "ood": f"of {task}", "method": method, "seed": seed, "score": score,
            "score_name": "validation/accuracy"} | more  # fmt: skip


def teacher(task: str, score: float) -> dict[str, Any]:
    return run(task, "", 0, score, ood="")


@pytest.fixture
def runs() -> pd.DataFrame:
    rows = [run(task, "kd", seed, base + seed / 10) for task, base in (("rte", 0.2), ("cb", 0.4)) for seed in (1, 2)]
    return pd.DataFrame([*rows, run("rte", "label", 1, 0.1), run("cb", "label", 1, 0.2), run("rte", "label", 2, 0.9)])


TEACHERS = pd.DataFrame([teacher("rte", 0.8), teacher("cb", 0.9)])


def test_the_mean_of_tasks_and_its_deviation_over_seeds(runs: pd.DataFrame) -> None:
    found = over_tasks(runs, TEACHERS, AXES)
    assert list(found["role"]) == ["teacher", "student", "control"]
    assert list(found.columns) == ["role", "method", "n", "score/rte", "score/cb", "average_mean", "average_sd"]
    own, student, control = found.to_dict("records")
    assert own["average_mean"] == pytest.approx(0.85) and math.isnan(own["average_sd"])
    assert student["n"] == 2 and student["score/rte"] == pytest.approx(0.35)
    assert student["average_mean"] == pytest.approx(0.45)  # (0.3 + 0.5) / 2 and (0.4 + 0.6) / 2
    assert student["average_sd"] == pytest.approx(0.1 / math.sqrt(2))
    assert control["n"] == 1, "its second seed has not run on every task"
    assert control["average_mean"] == pytest.approx(0.15) and math.isnan(control["average_sd"])


def test_a_task_counts_once_however_many_runs_it_has(runs: pd.DataFrame) -> None:
    twice = pd.concat([runs, runs[runs["task"] == "rte"]], ignore_index=True)
    once, again = (over_tasks(rows, TEACHERS, AXES) for rows in (runs, twice))
    pd.testing.assert_frame_equal(once, again)


def test_what_has_no_average(runs: pd.DataFrame) -> None:
    assert over_tasks(runs[runs["task"] == "rte"], TEACHERS, AXES).empty
    assert over_tasks(runs.assign(score_name="validation/perplexity"), TEACHERS, AXES).empty
    nowhere = runs[(runs["method"] == "kd") | (runs["task"] == "rte")]
    assert set(over_tasks(nowhere, pd.DataFrame(), AXES)["method"]) == {"kd"}, "a setting without one of the tasks"
    assert printed_over_tasks(pd.DataFrame()) == []


@pytest.mark.parametrize(
    ("scores", "average"),
    [
        ((16.7, 66.6, 79.7, 71.7, 87.2, 61.0, 82.9, 76.9, 56.3), 66.6),
        ((23.3, 61.8, 75.0, 72.0, 86.3, 59.9, 82.9, 62.9, 57.7), 64.6),
    ],
    ids=["general", "task"],
)
def test_the_published_average_of_glue(scores: tuple[float, ...], average: float) -> None:
    """Rows of Galke et al. 2022 for a bidirectional hybrid, CoLA to WNLI (table III of its supplement)."""
    rows = pd.DataFrame([run(f"task {place}", "kd", 1, score / 100) for place, score in enumerate(scores)])
    printed = {column.title: column.texts for column in printed_over_tasks(over_tasks(rows, pd.DataFrame(), AXES))}
    assert printed["average (%)"] == (f"{average:.1f}",)
