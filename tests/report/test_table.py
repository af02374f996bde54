"""The tidy table and the summary: closed forms, the teacher's row, the axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.error import KdbenchError
from kdbench.report.collect import collect
from kdbench.report.table import Tables, tables

Record = dict[str, Any]
WriteSweep = Callable[..., Path]
MakeRecord = Callable[..., Record]


@pytest.fixture
def made(records: list[Record], write_sweep: WriteSweep) -> Tables:
    return tables(collect(write_sweep(records)))


def row(made: Tables, **where: str) -> dict[str, Any]:
    summary = made.summary
    for name, value in where.items():
        summary = summary[summary[name] == value]
    (found,) = summary.to_dict("records")
    return {str(name): value for name, value in found.items()}


def test_the_runs_are_tidy(made: Tables, records: list[Record]) -> None:
    assert list(made.runs["signature"]) == [record["signature"] for record in records]
    assert list(made.runs.columns[:5]) == ["task", "data", "knowledge", "method", "seed"]
    assert list(made.runs["seed"]) == [1, 2] * 4
    first = made.runs.iloc[0]
    assert first["kept"] == pytest.approx(0.49 / 0.8)
    assert first["compression_total"] == 2 and first["compression_encoder"] == 2
    assert first["speed_up_batch_1"] == 2.5 and first["speed_up_batch_32"] == 2
    assert first["train_seconds"] == 30 and first["bytes"] == 44_000_000 and first["agreement"] == 0.9
    assert math.isnan(first["validation/pearson"]) and first["test/accuracy"] == pytest.approx(0.39)


def test_mean_and_standard_deviation_in_closed_form(made: Tables) -> None:
    cell = row(made, task="glue/rte", knowledge="logits")
    # of x - d and x + d: the mean is x, the deviation with n - 1 is d * sqrt(2)
    assert cell["n"] == 2
    assert cell["score_mean"] == pytest.approx(0.6) and cell["score_sd"] == pytest.approx(0.01 * math.sqrt(2))
    assert cell["kept_mean"] == pytest.approx(0.75)
    regression = row(made, task="glue/stsb", knowledge="label")
    assert regression["score_name"] == "validation/pearson"
    assert regression["validation/spearman_mean"] == pytest.approx(0.5)
    assert math.isnan(regression["validation/accuracy_mean"])


def test_only_the_metrics_of_the_scored_split_are_summarised(made: Tables) -> None:
    assert made.metrics == ("validation/accuracy", "validation/pearson", "validation/spearman")
    assert not [name for name in made.summary if str(name).startswith("test/")]


def test_scores_elsewhere_are_columns_of_students_and_teachers(records: list[Record], write_sweep: WriteSweep) -> None:
    """Of the runs that have any, whatever split is scored."""
    for seed, record in enumerate(records[:2]):
        scores = {"metrics": {"accuracy": 0.1 * seed}, "teacher_metrics": {"accuracy": 0.7}}
        record["ood"] = {"paws": {"data": "paws", "split": "validation", "rows": 9, **scores}}
    study = collect(write_sweep(records))
    for split in (None, "test"):
        found = tables(study, split)
        assert "ood/paws/accuracy" in found.metrics
        assert found.runs["ood/paws/accuracy"].tolist()[:2] == [0.0, 0.1]
        assert found.runs["ood/paws/accuracy"][2:].isna().all()
        means = found.summary["ood/paws/accuracy_mean"].dropna().tolist()
        assert sorted(means) == pytest.approx([0.05, 0.7])


def test_the_teacher_is_one_row_a_task_above_the_students(made: Tables) -> None:
    assert list(made.summary["role"]) == ["teacher", "student", "student"] * 2
    assert list(made.summary["task"]) == ["glue/rte"] * 3 + ["glue/stsb"] * 3
    teacher = row(made, task="glue/rte", role="teacher")
    assert teacher["n"] == 1 and teacher["score_mean"] == pytest.approx(0.8) and math.isnan(teacher["score_sd"])
    assert teacher["kept_mean"] == 1 and teacher["parameters_total"] == 22_000_000
    assert teacher["knowledge"] == "" and teacher["data"] == "glue/rte"
    assert list(made.summary["knowledge"]) == ["", "logits", "label"] * 2  # best first


def test_constant_axes_are_told_apart(made: Tables) -> None:
    assert made.axes == ("data", "knowledge", "method")
    assert made.varying == ("data", "knowledge")
    assert made.constant == {"method": "unified"}


def test_the_axes_of_the_sweep_win(records: list[Record], write_sweep: WriteSweep) -> None:
    axes = {record["signature"]: {"choice": f"c{index}"} for index, record in enumerate(records)}
    made = tables(collect(write_sweep(records, axes=axes)))
    assert made.axes == ("choice",)
    assert list(made.runs["choice"]) == [f"c{index}" for index in range(len(records))]
    assert "knowledge" not in made.runs


def test_sweeps_that_share_runs(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    rte = records[:4]
    write_sweep(rte, folder="outputs/first")
    swept = {record["signature"]: record["axes"] | {"optimizer.lr": "0.001"} for record in rte}
    write_sweep(rte, folder="outputs/second", axes=swept)
    made = tables(collect(tmp_path / "outputs"))
    # The axis that only the second sweep names has its value in the config, so no run is there twice.
    assert list(made.runs["signature"]) == [record["signature"] for record in rte]
    assert set(made.runs["optimizer.lr"]) == {"0.001"}


def test_cells_that_are_one_run_are_both_there(records: list[Record], write_sweep: WriteSweep) -> None:
    other = records[0]["axes"] | {"knowledge": "label-too"}
    same = {"signature": records[0]["signature"], "overrides": [], "axes": other, "status": "finished"}
    made = tables(collect(write_sweep(records, [same])))
    assert row(made, knowledge="label-too")["n"] == 1


def test_another_split(records: list[Record], write_sweep: WriteSweep) -> None:
    made = tables(collect(write_sweep(records[:4])), split="test")
    cell = row(made, knowledge="label")
    assert cell["score_name"] == "test/accuracy" and cell["score_mean"] == pytest.approx(0.4)
    assert cell["kept_mean"] == pytest.approx(0.5)
    assert made.metrics == ("test/accuracy",)


def test_an_unknown_split_names_those_there_are(records: list[Record], write_sweep: WriteSweep) -> None:
    with pytest.raises(KdbenchError, match="split=tset; choose --split from test, validation"):
        tables(collect(write_sweep(records)), split="tset")


def test_no_finished_run_says_why(write_sweep: WriteSweep) -> None:
    failed = {"signature": None, "overrides": [], "axes": {}, "status": "failed", "reason": "the loss is NaN"}
    with pytest.raises(KdbenchError, match=r"no finished run among its jobs.*the loss is NaN"):
        tables(collect(write_sweep([], [failed])))


def test_a_run_without_a_teacher(make_record: MakeRecord, write_sweep: WriteSweep) -> None:
    lone = make_record("a" * 16, {"knowledge": "label", "seed": "1"}, {"validation/accuracy": 0.5}, None)
    made = tables(collect(write_sweep([lone])))
    assert list(made.summary["role"]) == ["student"]
    assert math.isnan(made.runs["kept"][0]) and math.isnan(made.runs["compression_total"][0])


@pytest.mark.parametrize("reference", [0.0, -0.1])
def test_nothing_is_kept_of_a_teacher_that_knows_nothing(
    make_record: MakeRecord, write_sweep: WriteSweep, reference: float
) -> None:
    key = "validation/matthews"
    made = tables(collect(write_sweep([make_record("a" * 16, {"seed": "1"}, {key: 0.2}, {key: reference})])))
    assert math.isnan(made.runs["kept"][0])


def test_teachers_of_an_axis_have_rows_of_their_own(make_record: MakeRecord, write_sweep: WriteSweep) -> None:
    key = "validation/accuracy"
    made_records = []
    for index, (teacher, score) in enumerate((("small", 0.7), ("small", 0.7), ("large", 0.9))):
        record = make_record(f"{index:016x}", {"teacher": teacher, "seed": str(index)}, {key: 0.5}, {key: score})
        record["teacher"]["signature"] = f"signature-{teacher}"
        made_records.append(record)
    made = tables(collect(write_sweep(made_records)))
    assert row(made, role="teacher", teacher="small")["score_mean"] == pytest.approx(0.7)
    assert row(made, role="teacher", teacher="small")["n"] == 1
    assert row(made, role="teacher", teacher="large")["score_mean"] == pytest.approx(0.9)
