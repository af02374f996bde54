"""Which axes can be compared, and which scores make a pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from kdbench.report.block import Matched, factors, matched, scopes
from kdbench.report.control import with_controls

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "knowledge", "matching", "method", "student/size"]
KNOWLEDGE, MATCHING, SIZE = {"hidden": 0.01, "attention": 0.04}, {"first": 0.0, "last": 0.02}, {"l2": 0.0, "l4": 0.1}


def score(row: Any) -> float:
    return (
        {"glue/rte": 0.5, "glue/sst2": 0.8}[row["task"]]
        + 0.001 * row["seed"]
        + KNOWLEDGE[row["knowledge"]]
        + MATCHING[row["matching"]]
        + SIZE[row["student/size"]]
    )


@pytest.fixture
def runs(make_runs: MakeRuns) -> pd.DataFrame:
    """A full grid without noise: the differences are exact."""
    return with_controls(
        make_runs({"knowledge": list(KNOWLEDGE), "matching": list(MATCHING), "student/size": list(SIZE)}, score), AXES
    )


def meet(runs: pd.DataFrame, axis: str, first: str, second: str) -> Matched:
    return matched(runs, axis, first, second, AXES)


def test_a_pair_agrees_in_all_else(runs: pd.DataFrame) -> None:
    found = meet(runs, "knowledge", "attention", "hidden")
    assert len(found.pairs) == 2 * 3 * 2 * 2
    assert found.pairs["difference"].to_numpy() == pytest.approx(0.03)
    assert (found.pairs["first"] - found.pairs["second"]).to_numpy() == pytest.approx(0.03)
    assert found.moving == () and found.averaged == ()


def test_a_missing_run_takes_its_pair_along_and_biases_nothing(runs: pd.DataFrame) -> None:
    hard = (runs["task"] == "glue/rte") & (runs["knowledge"] == "hidden")
    found = meet(runs[~hard], "knowledge", "attention", "hidden")
    assert set(found.pairs["task"]) == {"glue/sst2"} and len(found.pairs) == 12
    assert found.pairs["difference"].to_numpy() == pytest.approx(0.03)


def test_an_axis_that_one_level_does_not_read_is_averaged_over(runs: pd.DataFrame) -> None:
    hidden = runs[runs["knowledge"] == "hidden"]
    logits = hidden[hidden["matching"] == "first"].assign(knowledge="logits", matching="")
    found = meet(pd.concat([hidden, logits]), "knowledge", "hidden", "logits")
    assert found.averaged == ("matching",)
    # The lone run of logits is one observation, not two.
    assert len(found.pairs) == len(logits) == 12
    assert found.pairs["difference"].to_numpy() == pytest.approx(0.01)


def test_an_axis_that_always_moves_along_is_named(runs: pd.DataFrame) -> None:
    together = runs.assign(initialization=runs["student/size"].map({"l2": "random", "l4": "teacher_first"}))
    found = matched(together, "student/size", "l4", "l2", [*AXES, "initialization"])
    assert found.moving == (("initialization", "teacher_first", "random"),)
    assert found.pairs["difference"].to_numpy() == pytest.approx(0.1)


def test_levels_that_never_meet_have_no_pairs(runs: pd.DataFrame) -> None:
    apart = (runs["knowledge"] == "hidden") == (runs["seed"] == 1)
    assert meet(runs[apart], "knowledge", "attention", "hidden").pairs.empty


def test_axes_that_move_together_are_one_factor_named_after_the_student(runs: pd.DataFrame) -> None:
    together = runs.assign(
        alpha=runs["student/size"].map({"l2": "x", "l4": "y"}),
        projection=runs["student/size"].map({"l2": "identity", "l4": "to_teacher"}),
    )
    together.loc[together["knowledge"] == "hidden", "projection"] = ""
    found = {factor.axis: factor for factor in factors(together, ["alpha", "projection", *AXES])}
    assert list(found) == ["knowledge", "matching", "student/size"]
    assert found["student/size"].followers == ("alpha", "projection")
    assert found["student/size"].levels == ("l2", "l4")


def test_blank_is_no_level_and_the_task_no_axis(runs: pd.DataFrame) -> None:
    shown = runs.assign(weight=runs["knowledge"].map({"hidden": "", "attention": "3"}), lr=runs["task"])
    names = [factor.axis for factor in factors(shown, ["weight", "lr", *AXES])]
    assert names == ["knowledge", "matching", "student/size"]


def test_scopes(runs: pd.DataFrame) -> None:
    assert list(scopes(runs)) == ["all tasks", "glue/rte", "glue/sst2"]
    assert scopes(runs)["all tasks"].all() and scopes(runs)["glue/rte"].sum() == 24
    assert list(scopes(runs[runs["task"] == "glue/rte"])) == ["glue/rte"]
