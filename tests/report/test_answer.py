"""Whole reports of studies with holes: no warning, no crash, and no number that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdbench.report.answer import Answers, answers
from kdbench.report.collect import collect
from kdbench.report.command import write_report
from kdbench.report.table import tables

Record = dict[str, Any]
WriteSweep = Callable[..., Path]
MakeRecord = Callable[..., Record]
KEY = "validation/accuracy"


def cell(make_record: MakeRecord, number: int, task: str, seed: int, size: str, knowledge: str | None) -> Record:
    axes = {"data": task, "seed": str(seed), "student/size": size, "method": "unified" if knowledge else "label"}
    axes |= {"knowledge": knowledge} if knowledge else {}
    score = 0.5 + 0.01 * seed + 0.05 * (size == "l4") + 0.02 * (knowledge == "hidden") + 0.0007 * (number % 7)
    return make_record(f"{number:016x}", axes, {KEY: score}, {KEY: 0.8}, task)


def study(make_record: MakeRecord, seeds: int = 3, tasks: int = 2) -> list[Record]:
    grid = [
        (f"task{task}", seed, size, knowledge)
        for task in range(tasks)
        for seed in range(1, seeds + 1)
        for size in ("l2", "l4")
        for knowledge in (None, "hidden", "logits")
    ]
    return [cell(make_record, number, *values) for number, values in enumerate(grid)]


def without_scores(records: list[Record]) -> list[Record]:
    for record in records[1::5]:
        record["metrics"] = {"validation/f1": 0.5}
    return records


def without_costs(records: list[Record]) -> list[Record]:
    for record in records:
        record["student"], record["teacher"], record["teacher_cost"] = {}, None, None
    return records


def stuck(records: list[Record]) -> list[Record]:
    for record in records:
        record["metrics"] = {KEY: 0.5}
    return records


HOLES: dict[str, Callable[[list[Record]], list[Record]]] = {
    "whole": lambda records: records,
    "one run": lambda records: records[:1],
    "one control": lambda records: records[1:2],
    "one cell": lambda records: [record for record in records if record["axes"]["student/size"] == "l2"][1::3],
    "one seed": lambda records: [record for record in records if record["seed"] == 1],
    "one task": lambda records: [record for record in records if record["task"] == "task0"],
    "labels alone": lambda records: [record for record in records if record["axes"]["method"] == "label"],
    "no controls": lambda records: [record for record in records if record["axes"]["method"] != "label"],
    "failed runs": lambda records: [record for place, record in enumerate(records) if place % 4],
    "a task of one cell": lambda records: [*records[:18], *records[18:36:6]],
    "no scores": without_scores,
    "no costs, no teacher": without_costs,
    "stuck at the majority class": stuck,
}


@pytest.mark.parametrize("hole", list(HOLES))
def test_a_study_with_holes_has_its_report(make_record: MakeRecord, write_sweep: WriteSweep, hole: str) -> None:
    folder = write_sweep(HOLES[hole](study(make_record)))
    text, page = write_report(collect(folder), folder / "report")
    assert "## Answer" in text and page.is_file()
    for said in (text, page.read_text(encoding="utf-8"), (folder / "report" / "summary.md").read_text("utf-8")):
        assert not [word for word in ("nan", "None", "inf ") if f" {word}" in said or f">{word}<" in said]


def test_a_report_over_several_folders(make_record: MakeRecord, write_sweep: WriteSweep, tmp_path: Path) -> None:
    records = study(make_record)
    write_sweep(records[:20], folder="outputs/first")
    write_sweep(records[14:], folder="outputs/second")
    found = answer(tmp_path / "outputs")
    whole = answer(write_sweep(records, folder="whole"))
    pd.testing.assert_frame_equal(found.comparisons, whole.comparisons)
    pd.testing.assert_frame_equal(found.gains, whole.gains)


def test_a_control_that_lists_axes_it_does_not_read_is_one_control(
    make_record: MakeRecord, write_sweep: WriteSweep
) -> None:
    records = study(make_record)
    listed = {
        record["signature"]: record["axes"] | {"matching.k": "2", "knowledge": record["axes"].get("knowledge", "gram")}
        for record in records
    }
    plain = answer(write_sweep(records))
    wordy = answer(write_sweep(records, axes=listed, folder="wordy"))
    assert wordy.has_controls
    cells = [set(table.gains["cell"].str.split(", ").map(frozenset)) for table in (wordy, plain)]
    assert cells[0] == cells[1]  # the order of the axes may differ
    pd.testing.assert_frame_equal(wordy.gains.drop(columns="cell"), plain.gains.drop(columns="cell"))


def test_the_family_of_a_small_study(make_record: MakeRecord, write_sweep: WriteSweep) -> None:
    found = answer(write_sweep(study(make_record)))
    assert [factor.axis for factor in found.factors] == ["student/size", "knowledge"]
    assert len(found.gains[found.gains["task"] == "all tasks"]) == 5
    assert found.pooled == "all tasks" and found.has_controls
    pooled = found.comparisons[found.comparisons["task"] == "all tasks"].set_index("axis")
    assert pooled.loc["student/size", "n"] == 12 and pooled.loc["knowledge", "n"] == 12
    assert pooled.loc["student/size", "finding"] and pooled.loc["student/size", "control"] > 0.5


def answer(folder: Path) -> Answers:
    made = tables(collect(folder))
    return answers(made.runs, made.axes)
