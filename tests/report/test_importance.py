"""Shares of variance: the classical sums of squares of a balanced table, and nothing for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdbench.report.block import factors
from kdbench.report.importance import REST, importance

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "knowledge", "student/size"]
KNOWLEDGE, SIZE = {"hidden": 0.0, "attention": 0.02, "gram": 0.05}, {"l2": 0.0, "l4": 0.1}


def score(row: Any) -> float:
    return 0.5 + KNOWLEDGE[row["knowledge"]] + SIZE[row["student/size"]] + 0.2 * (row["task"] == "glue/sst2")


def table(runs: pd.DataFrame, axes: list[str] = AXES) -> pd.DataFrame:
    return importance(runs, factors(runs, [name for name in axes if name in runs])).set_index("source")


def test_a_balanced_table_has_the_classical_sums_of_squares(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": list(KNOWLEDGE), "student/size": list(SIZE)}, score, noise=0.01)
    found = table(runs)
    within = runs["score"] - runs.groupby("task")["score"].transform("mean")
    sums = {}
    for name in ("knowledge", "student/size"):
        level = runs.groupby(name)["score"].transform("mean") - runs["score"].mean()
        sums[name] = float((level**2).sum())
        assert found.loc[name, "sum_of_squares"] == pytest.approx(sums[name])
    residual = float((within**2).sum()) - sum(sums.values())
    degrees = len(runs) - 2 - 2 - 1
    assert found.loc[REST, "sum_of_squares"] == pytest.approx(residual) and found.loc[REST, "degrees"] == degrees
    assert list(found.loc[["knowledge", "student/size"], "degrees"]) == [2, 1]
    for name, freedom in (("knowledge", 2), ("student/size", 1)):
        corrected = (sums[name] - freedom * residual / degrees) / float((within**2).sum())
        assert found.loc[name, "share"] == pytest.approx(corrected)
    assert found.loc[[*sums, REST], "share"].sum() == pytest.approx(1)
    assert found.index[0] == "student/size" and found.index[-1] == REST


def test_the_order_of_the_axes_does_not_matter(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": list(KNOWLEDGE), "student/size": list(SIZE)}, score, noise=0.01)
    uneven = runs[~((runs["knowledge"] == "gram") & (runs["student/size"] == "l2") & (runs["seed"] > 1))]
    one, other = table(uneven), table(uneven, AXES[::-1])
    for name in ("knowledge", "student/size", REST):
        assert one.loc[name, "share"] == pytest.approx(other.loc[name, "share"])


def test_a_null_axis_of_many_levels_has_no_share_on_average(make_runs: MakeRuns) -> None:
    levels = [f"level{place}" for place in range(8)]
    shares, raw = [], []
    for generator in range(40):
        runs = make_runs({"knowledge": levels}, lambda row: 0.5, noise=0.01, generator=generator)
        found = table(runs)
        shares.append(found.loc["knowledge", "share"])
        raw.append(found.loc["knowledge", "sum_of_squares"] / found["sum_of_squares"].loc[["knowledge", REST]].sum())
    assert np.mean(raw) > 0.12  # what eight levels take from noise alone
    assert np.mean(shares) < 0.06  # above 0 since a share below it is shown as 0


def test_what_only_combinations_explain_is_an_interaction(make_runs: MakeRuns) -> None:
    def crossed(row: Any) -> float:
        return 0.5 + 0.1 * ((row["knowledge"] == "gram") ^ (row["student/size"] == "l2"))

    runs = make_runs({"knowledge": ["gram", "hidden"], "student/size": ["l2", "l4"]}, crossed, noise=0.001)
    found = table(runs)
    assert found.loc["knowledge x student/size", "share"] > 0.98
    assert found.loc["knowledge", "share"] < 0.05 and found.loc[REST, "share"] > 0.95


def test_an_axis_that_helps_on_one_task_and_hurts_on_the_other(make_runs: MakeRuns) -> None:
    def turned(row: Any) -> float:
        return 0.5 + 0.1 * ((row["knowledge"] == "gram") ^ (row["task"] == "glue/rte"))

    found = table(make_runs({"knowledge": ["gram", "hidden"]}, turned, noise=0.001))
    assert found.loc["knowledge x task", "share"] > 0.98


def test_intervals_lie_in_the_possible_and_hold_the_share(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": list(KNOWLEDGE), "student/size": list(SIZE)}, score, noise=0.02)
    found = table(runs)
    assert found["low"].between(0, 1).all() and found["high"].between(0, 1).all()
    assert (found["low"] <= found["share"]).all() and (found["share"] <= found["high"]).all()
    assert found.equals(table(runs))


def test_a_table_that_cannot_tell_has_no_rows(make_runs: MakeRuns) -> None:
    constant = make_runs({"knowledge": ["gram", "hidden"]}, lambda row: 0.5)
    assert table(constant).empty
    lone = make_runs({"knowledge": ["gram", "hidden"]}, score_of_knowledge, tasks=["rte"], seeds=[1])
    assert table(lone).empty
    assert table(make_runs({"knowledge": ["gram"]}, lambda row: 0.5)).empty


def score_of_knowledge(row: Any) -> float:
    return KNOWLEDGE[row["knowledge"]]


def test_two_units_give_shares_without_intervals(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": list(KNOWLEDGE), "student/size": list(SIZE)}, score, seeds=[1], noise=0.01)
    found = table(runs)
    assert math.isfinite(found.loc["student/size", "share"]) and found["low"].isna().all()
