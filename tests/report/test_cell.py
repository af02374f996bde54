"""Cells: what names them, what they cost, and which nothing dominates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdbench.report.cell import ONLY, cell_labels, cells, naming_axes
from kdbench.report.control import with_controls
from kdbench.report.pareto import LATENCY, PARAMETERS, best_within_budgets, budgets, non_dominated

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "method", "knowledge", "student/size"]
COST = {"l2": 5e6, "l4": 2e7}


def score(row: Any) -> float:
    return {"": 0.5, "hidden": 0.55, "gram": 0.45}[row["knowledge"]] + 0.1 * (row["student/size"] == "l4")


@pytest.fixture
def runs(make_runs: MakeRuns) -> pd.DataFrame:
    made = make_runs({"knowledge": ["hidden", "gram"], "student/size": ["l2", "l4"]}, score, control=True)
    made[PARAMETERS] = made["student/size"].map(COST)
    # A clock with noise: the cells of one size are the same network.
    made[LATENCY] = made[PARAMETERS] / 1e6 + np.random.default_rng(0).uniform(-1, 1, len(made))
    return made


def table(runs: pd.DataFrame) -> pd.DataFrame:
    return cells(runs, with_controls(runs, AXES), naming_axes(runs, AXES, []))


def test_names(runs: pd.DataFrame) -> None:
    assert naming_axes(runs, AXES, []) == ["method", "knowledge", "student/size"]
    assert naming_axes(runs, AXES, ["student/size"]) == ["method", "knowledge"]
    distilled = runs[runs["method"] != "label"]
    assert naming_axes(distilled, AXES, []) == ["knowledge", "student/size"]
    labels = set(cell_labels(runs, ["method", "knowledge"]))
    assert labels == {"method=label", "method=unified, knowledge=hidden", "method=unified, knowledge=gram"}
    assert set(cell_labels(runs, [])) == {ONLY}


def test_an_axis_that_alone_tells_two_cells_apart_names_them(runs: pd.DataFrame) -> None:
    weighted = runs.assign(weight=["3" if knowledge == "gram" else "" for knowledge in runs["knowledge"]])
    assert "weight" not in naming_axes(weighted, [*AXES, "weight"], [])
    assert naming_axes(weighted, ["data", "weight"], []) == ["weight"]


def test_the_average_of_glue_is_that_of_its_columns(make_runs: MakeRuns) -> None:
    """BERT-base's published test scores (Devlin et al. 2019): 83.0 without CoLA, as for SKDBERT, and 79.6 with it."""
    published = {"mnli": 84.6, "mnli_mismatched": 83.4, "qqp": 71.2, "qnli": 90.5, "sst2": 93.5, "stsb": 85.8}
    published |= {"mrpc": 88.9, "rte": 66.4, "cola": 52.1}
    axes = {"knowledge": ["hidden"], "student/size": ["l12_h768"]}
    for columns, average in ((list(published)[:8], 83.0375), (list(published), 79.6)):
        made = make_runs(axes, lambda row: published[row["task"]], columns, seeds=(1,))
        assert table(made.assign(**{LATENCY: 1.0, PARAMETERS: 1e8}))["score"].tolist() == pytest.approx([average])


@pytest.mark.parametrize(
    ("scores", "average"),
    [
        ((83.9, 83.4, 93.4, 87.9, 52.8, 71.1, 90.9, 67.0, 85.2), 79.5),  # test scores: BERT-base
        ((82.5, 81.8, 92.6, 86.4, 44.1, 71.3, 87.7, 66.6, 80.4), 77.0),  # TinyBERT
        ((83.0, 82.7, 91.9, 88.5, 39.8, 71.5, 90.2, 67.2, 84.5), 77.7),  # KroneckerBERT_8
        ((82.8, 83.5, 91.2, 87.2, 49.5, 91.1, 89.4, 68.9, 88.1), 81.3),  # validation scores: KroneckerBERT_5
        ((82.8, 83.5, 91.1, 87.5, 43.6, 90.9, 90.7, 69.66, 88.0), 80.9),  # KroneckerBERT_8
        ((80.6, 80.6, 88.9, 86.2, 34.0, 90.0, 87.2, 66.4, 86.4), 77.8),  # KroneckerBERT_21
    ],
)
def test_the_averages_of_kroneckerbert_count_mnli_twice(
    make_runs: MakeRuns, scores: tuple[float, ...], average: float
) -> None:
    """The published rows (Tahaei et al. 2022, tables 2 and 3), whose nine columns have MNLI matched and mismatched."""
    columns = ("mnli", "mnli_mismatched", "sst2", "mrpc", "cola", "qqp", "qnli", "rte", "stsb")
    published = dict(zip(columns, scores, strict=True))
    axes = {"knowledge": ["hidden"], "student/size": ["l12_h768"]}
    made = make_runs(axes, lambda row: published[row["task"]], list(columns), seeds=(1,))
    assert table(made.assign(**{LATENCY: 1.0, PARAMETERS: 1e8}))["score"].tolist() == pytest.approx([average], abs=0.06)


def test_a_cell_is_the_mean_over_tasks(runs: pd.DataFrame) -> None:
    uneven = runs[~((runs["task"] == "glue/rte") & (runs["seed"] > 1))].copy()
    uneven.loc[uneven["task"] == "glue/rte", "score"] += 0.2
    found = table(uneven).set_index("cell")
    row = found.loc["method=unified, knowledge=hidden, student/size=l2"]
    assert row["score"] == pytest.approx(0.65) and row["n"] == 4 and row["role"] == "student"
    assert row["control"] == pytest.approx(0.6) and row["teacher"] == pytest.approx(0.9)
    assert found.loc["method=label, student/size=l4", "role"] == "control"


def test_a_cell_without_a_task_is_not_compared(runs: pd.DataFrame) -> None:
    gone = (runs["knowledge"] == "hidden") & (runs["student/size"] == "l4") & (runs["task"] == "glue/rte")
    assert len(table(runs)) == 6 and len(table(runs[~gone])) == 5


def test_one_network_has_one_latency(runs: pd.DataFrame) -> None:
    found = table(runs)
    assert found.groupby(PARAMETERS)[LATENCY].nunique().eq(1).all()
    front = found[found[f"front_{LATENCY}"]]
    assert list(front["cell"]) == list(found[found[f"front_{PARAMETERS}"]]["cell"])
    assert front["cell"].str.contains("hidden").all() and len(front) == 2


def test_the_best_within_a_budget(runs: pd.DataFrame) -> None:
    best = best_within_budgets(table(runs))
    sizes = best[best["cost"] == PARAMETERS]
    assert list(sizes["budget"]) == [5e6, 2e7]
    assert list(sizes["cell"].str[-2:]) == ["l2", "l4"] and sizes["cell"].str.contains("hidden").all()
    assert (sizes["control"] - [0.5, 0.6]).abs().max() < 1e-9
    unknown = runs.assign(**{PARAMETERS: np.nan, LATENCY: np.nan})
    assert best_within_budgets(table(unknown)).empty


def test_the_front_against_its_definition() -> None:
    draws = np.random.default_rng(2)
    costs, scores = draws.integers(0, 6, 40).astype(float), draws.integers(0, 6, 40).astype(float)
    costs[3] = scores[7] = np.nan
    found = non_dominated(costs, scores)
    for one, (cost, reached) in enumerate(zip(costs, scores, strict=True)):
        beaten = any(
            other_cost <= cost and other >= reached and (other_cost < cost or other > reached)
            for other_cost, other in zip(costs, scores, strict=True)
        )
        assert found[one] == (not beaten and np.isfinite(cost) and np.isfinite(reached))
    assert 0 < found.sum() < 40


def test_budgets_are_few_and_end_with_the_dearest() -> None:
    assert budgets(np.array([3.0, 1.0, np.nan, 3.0])) == [1.0, 3.0]
    many = budgets(np.arange(1.0, 22.0))
    assert len(many) == 4 and many[-1] == 21 and many == sorted(many)
    assert budgets(np.array([np.nan])) == []
