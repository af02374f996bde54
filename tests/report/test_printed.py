"""The summary as printed: a well-formed, aligned Markdown table."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.report.collect import collect
from kdbench.report.column import Column, markdown_table
from kdbench.report.printed import note, printed
from kdbench.report.table import tables

Record = dict[str, Any]
WriteSweep = Callable[..., Path]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_table_is_well_formed_and_aligned(records: list[Record], write_sweep: WriteSweep) -> None:
    lines = markdown_table(printed(tables(collect(write_sweep(records))))).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len({len(cells(line)) for line in lines}) == 1
    assert all(re.fullmatch(r"-{2,}[-:]", cell) for cell in cells(lines[1]))
    header = cells(lines[0])
    assert header[:6] == ["task", "model", "knowledge", "n", "score (%)", "±"]
    assert "data" not in header and "method" not in header
    logits = next(cells(line) for line in lines if "logits" in line and "rte" in line)
    shown = dict(zip(header, logits, strict=True))
    assert shown["score (%)"] == "60.0" and shown["kept (%)"] == "75.0" and shown["score is"] == "accuracy"
    assert logits[5] == "1.4"
    assert shown["parameters (M)"] == "11.0" and shown["compression (x)"] == "2.0" and shown["latency 1 (ms)"] == "4.0"
    assert shown["on disk (MB)"] == "44.0" and shown["FLOPs (G)"] == "1.10"


def test_one_metric_names_its_column(records: list[Record], write_sweep: WriteSweep) -> None:
    titles = [column.title for column in printed(tables(collect(write_sweep(records[:4]))))]
    assert "accuracy (%)" in titles and "score is" not in titles and titles.count("±") == 1
    titles = [column.title for column in printed(tables(collect(write_sweep(records[4:], folder="second"))))]
    assert "pearson (%)" in titles and "spearman (%)" in titles and titles.count("±") == 2


def test_a_lone_run_has_no_deviation(records: list[Record], write_sweep: WriteSweep) -> None:
    columns = printed(tables(collect(write_sweep(records[:1]))))
    assert "±" not in [column.title for column in columns]
    assert columns[1].texts == ("teacher", "student")


def test_a_pipe_in_a_value_stays_in_its_cell() -> None:
    table = markdown_table([Column("a|b", ("x|y",), ("x|y",), False), Column("n", ("1",), (1.0,))])
    assert [len(cells(line)) for line in table.splitlines()] == [2, 2, 2]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_note_says_the_split(records: list[Record], write_sweep: WriteSweep, split: str) -> None:
    study = collect(write_sweep(records[:4]))
    assert f"Scores on {split}:" in note(tables(study, split))
