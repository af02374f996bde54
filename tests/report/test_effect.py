"""Main effects: exact on a table without noise, fair to uneven grids, and with intervals that repeat."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdbench.report.block import all_matched, factors
from kdbench.report.control import with_controls
from kdbench.report.effect import effects, level_effects

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "knowledge", "method", "student/size"]
KNOWLEDGE = {"hidden": 0.0, "attention": 0.03, "gram": -0.06}
SIZE = {"l2": 0.0, "l4": 0.2}


def score(row: Any) -> float:
    return 0.5 + KNOWLEDGE[row["knowledge"]] + SIZE[row["student/size"]] + 0.2 * (row["task"] == "glue/sst2")


def table(runs: pd.DataFrame) -> pd.DataFrame:
    axes = [name for name in AXES if name in runs]
    runs = with_controls(runs, axes)
    found = factors(runs, axes)
    return effects(runs, found, all_matched(runs, found, axes)).set_index(["task", "axis", "level"])


@pytest.fixture
def runs(make_runs: MakeRuns) -> pd.DataFrame:
    return make_runs({"knowledge": list(KNOWLEDGE), "student/size": list(SIZE)}, score)


def test_an_effect_is_the_mean_difference_to_the_other_levels(runs: pd.DataFrame) -> None:
    found = table(runs)["effect"]
    for task in ("all tasks", "glue/rte", "glue/sst2"):
        for level, own in KNOWLEDGE.items():
            others = [value for name, value in KNOWLEDGE.items() if name != level]
            assert found[task, "knowledge", level] == pytest.approx(own - np.mean(others))
    assert found["all tasks", "student/size", "l4"] == pytest.approx(0.2)
    assert found["all tasks", "student/size", "l2"] == pytest.approx(-0.2)


def test_an_uneven_grid_makes_no_effect(runs: pd.DataFrame) -> None:
    # Attention only with the strong student on the easy task: its plain mean is far better than its effect.
    lucky = (runs["student/size"] == "l4") & (runs["task"] == "glue/sst2")
    found = table(runs[(runs["knowledge"] != "attention") | lucky])
    row = found.loc["all tasks", "knowledge", "attention"]
    assert row["effect"] == pytest.approx(0.06) and row["score"] == pytest.approx(0.93)
    assert (row["runs"], row["n"], row["units"]) == (3, 6, 3)


def test_pairs_and_units_are_counted(runs: pd.DataFrame) -> None:
    row = table(runs).loc["all tasks", "knowledge", "gram"]
    assert (row["runs"], row["n"], row["units"]) == (12, 24, 6)


def test_intervals_hold_the_truth_and_repeat(make_runs: MakeRuns) -> None:
    held = []
    for generator in range(60):
        noisy = make_runs({"knowledge": ["hidden", "gram"]}, lambda row: 0.5, noise=0.02, generator=generator)
        row = table(noisy).loc["all tasks", "knowledge", "gram"]
        held.append(row["low"] < 0 < row["high"])
    assert np.mean(held) >= 0.88
    again = table(noisy).loc["all tasks", "knowledge", "gram"]
    assert again.equals(row)


def test_two_units_have_no_interval(make_runs: MakeRuns) -> None:
    noisy = make_runs({"knowledge": ["hidden", "gram"]}, lambda row: 0.5, tasks=["rte"], seeds=[1, 2], noise=0.02)
    found = table(noisy)
    assert list(found.index.get_level_values("task").unique()) == ["rte"]
    assert found["effect"].notna().all() and found["low"].isna().all()


def test_level_effects_skip_levels_that_did_not_meet() -> None:
    sums = np.array([[0.0, 2.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    counts = np.array([[0.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    first, second, third = level_effects(sums, counts)
    assert (first, second) == (0.5, -0.5) and math.isnan(third)


def test_nothing_to_compare_is_an_empty_table(make_runs: MakeRuns) -> None:
    found = table(make_runs({"knowledge": ["hidden"]}, lambda row: 0.5))
    assert found.empty and "effect" in found
