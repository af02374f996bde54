"""The matched control: found by what a run on gold labels reads, and never by what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from kdbench.report.collect import Job
from kdbench.report.control import is_control, read_by_control, with_controls
from kdbench.report.row import axis_value

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "method", "knowledge", "student/size"]
SIZES = {"l2": 0.0, "l4": 0.1}


@pytest.mark.parametrize(
    ("axis", "read"),
    [
        ("knowledge", False),
        ("matching.k", False),
        ("projection", False),
        ("stages.task.terms.transfer.weight", False),
        ("matching@stages.task.terms.soft.matching", False),
        ("stages.task.terms.label.weight", True),
        ("objective@stages.task.terms.label.objective", True),
        ("stages.task.training.epochs", True),
        ("initialization", True),
        ("student/size", True),
        ("optimizer.lr", True),
        ("method", True),
    ],
)
def test_what_a_control_reads(axis: str, read: bool) -> None:
    assert read_by_control(axis) == read


def test_a_control_has_no_value_on_an_axis_of_terms() -> None:
    record: dict[str, Any] = {"config": {"matching": {"k": 2}, "optimizer": {"lr": 0.1}}}
    control = Job("finished", "a", {"method": "label", "knowledge": "hidden"}, (), None, record)
    other = Job("finished", "b", {"method": "unified", "knowledge": "hidden"}, (), None, record)
    for name, values in {"knowledge": ("", "hidden"), "matching.k": ("", "2"), "optimizer.lr": ("0.1", "0.1")}.items():
        assert (axis_value(control, name), axis_value(other, name)) == values


def score(row: Any) -> float:
    return 0.5 + SIZES[row["student/size"]] + 0.01 * row["seed"] + 0.2 * (row["method"] == "unified")


def test_a_run_meets_the_control_of_its_own_size_and_seed(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["hidden", "logits"], "student/size": ["l2", "l4"]}, score, control=True)
    found = with_controls(runs.sample(frac=1, random_state=0), AXES)
    assert len(found) == 2 * 3 * 4 and set(found["method"]) == {"unified"}
    assert (found["score"] - found["control_score"]).to_numpy() == pytest.approx(0.2)
    assert found["score"].to_dict() == runs.loc[found.index, "score"].to_dict()


def test_a_run_whose_control_failed_has_none(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["hidden"], "student/size": ["l2", "l4"]}, score, control=True)
    gone = (runs["method"] == "label") & (runs["seed"] == 2) & (runs["student/size"] == "l4")
    assert gone.sum() == 2
    for missing in (runs[~gone], runs.assign(score=runs["score"].where(~gone))):
        found = with_controls(missing, AXES)
        lacking = found["control_score"].isna()
        assert lacking.sum() == 2 and set(found[lacking]["seed"]) == {2}


def test_one_control_under_two_names_counts_once(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["hidden"], "student/size": ["l2"]}, score, control=True)
    twice = pd.concat([runs, runs[runs["method"] == "label"]], ignore_index=True)
    assert len(with_controls(twice, AXES)) == len(with_controls(runs, AXES))


def test_labels_alone_control_nothing(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["hidden"], "student/size": ["l2", "l4"]}, score, control=True)
    alone = runs[runs["method"] == "label"]
    assert not is_control(alone).any()
    found = with_controls(alone, AXES)
    assert len(found) == len(alone) and found["control_score"].isna().all()
    assert with_controls(runs.drop(columns="method"), ["data"])["control_score"].isna().all()
