"""Gains over the control: paired, exact without noise, and each cell by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from kdbench.report.control import with_controls
from kdbench.report.gain import EVERY_CELL, gains

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "method", "knowledge", "student/size"]
NAMES = ["knowledge", "student/size"]
GAIN = {"": 0.0, "hidden": 0.01, "attention": 0.03}


def score(row: Any) -> float:
    # Seeds and sizes move control and student alike; the gain of the second task is 2 points higher.
    easy = row["task"] == "glue/sst2"
    own = GAIN[row["knowledge"]] + 0.02 * easy * (row["method"] == "unified")
    return 0.5 + 0.05 * row["seed"] + 0.1 * (row["student/size"] == "l4") + 0.2 * easy + own


@pytest.fixture
def runs(make_runs: MakeRuns) -> pd.DataFrame:
    return make_runs({"knowledge": ["hidden", "attention"], "student/size": ["l2", "l4"]}, score, control=True)


def table(runs: pd.DataFrame) -> pd.DataFrame:
    return gains(with_controls(runs, AXES), NAMES).set_index(["task", "cell"])


def test_a_gain_is_the_difference_to_the_own_control(runs: pd.DataFrame) -> None:
    found = table(runs)
    for size in ("l2", "l4"):
        cell = f"knowledge=attention, student/size={size}"
        assert found.loc[("glue/rte", cell), "difference"] == pytest.approx(0.03)
        assert found.loc[("glue/sst2", cell), "difference"] == pytest.approx(0.05)
        row = found.loc["all tasks", cell]
        assert row["difference"] == pytest.approx(0.04) and row["n"] == 6
        assert row["score"] - row["control"] == pytest.approx(0.04) and row["teacher"] == pytest.approx(0.9)


def test_the_best_cell_is_first_and_all_together_last(runs: pd.DataFrame) -> None:
    pooled = table(runs).loc["all tasks"]
    assert list(pooled.index[:2].str.contains("attention")) == [True, True]
    assert pooled.index[-1] == EVERY_CELL
    # Cells of one task and seed share controls: 6 pairs, not 24.
    assert pooled.loc[EVERY_CELL, "n"] == 6 and pooled.loc[EVERY_CELL, "difference"] == pytest.approx(0.03)


def test_a_failed_control_takes_its_pairs_along(runs: pd.DataFrame) -> None:
    gone = (runs["method"] == "label") & (runs["student/size"] == "l4") & (runs["seed"] == 3)
    pooled = table(runs[~gone]).loc["all tasks"]
    assert pooled.loc["knowledge=hidden, student/size=l4", "n"] == 4
    assert pooled.loc["knowledge=hidden, student/size=l2", "n"] == 6
    assert pooled.loc["knowledge=hidden, student/size=l4", "difference"] == pytest.approx(0.02)


def test_one_cell_and_no_cell(runs: pd.DataFrame) -> None:
    lone = runs[(runs["student/size"] == "l2") & (runs["knowledge"] != "hidden")]
    assert EVERY_CELL not in table(lone).index.get_level_values("cell")
    assert table(runs[runs["method"] != "label"]).empty
