"""The Markdown: a short text for the console, and all tables for the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.report.answer import answers
from kdbench.report.collect import Study, collect
from kdbench.report.guideline import guideline
from kdbench.report.markdown import NOTHING_SUPPORTED, markdown, short
from kdbench.report.printed_answer import sections
from kdbench.report.table import tables

Record = dict[str, Any]
WriteSweep = Callable[..., Path]
FAILED = {"signature": None, "overrides": ["seed=3"], "axes": {}, "status": "failed", "reason": "the loss is NaN"}


def texts(study: Study) -> tuple[str, str]:
    made = tables(study)
    answered = answers(made.runs, made.axes)
    found = guideline(answered)
    return short(study, made, found), markdown(study, made, answered, found)


@pytest.fixture
def controlled(records: list[Record]) -> list[Record]:
    """The same records, with those of `knowledge=label` as controls."""
    for record in records:
        record["axes"]["method"] = "label" if record["axes"]["knowledge"] == "label" else "unified"
    return records


def test_constants_and_jobs_without_a_result_are_said(records: list[Record], write_sweep: WriteSweep) -> None:
    for text in texts(collect(write_sweep(records, [FAILED]))):
        assert text.startswith("# which-knowledge\n\nConstant: method = unified.\n")
        assert "- failed: `seed=3`: the loss is NaN" in text and "(1 of 9)" in text


def test_the_file_has_every_table_and_the_console_the_answer(controlled: list[Record], write_sweep: WriteSweep) -> None:
    console, file = texts(collect(write_sweep(controlled)))
    titles = ["Gain over the control", "Comparisons", "Main effects", "Importance of the axes"]
    assert all(f"\n## {title}\n" in file and f"\n## {title}\n" not in console for title in titles)
    assert file.startswith(console.rstrip("\n"))
    assert f"- {NOTHING_SUPPORTED}" in console
    rows = [line for line in file.splitlines() if line.startswith("|")]
    gain = next(line for line in rows if line.startswith("| method=unified"))
    # (50, 60 and the teacher's 80; 60, 70 and 90)
    assert [cell.strip() for cell in gain.split("|")[2:6]] == ["65.0", "55.0", "85.0", "10.0"]


def test_the_control_and_the_teacher_stand_in_every_table_of_scores(
    controlled: list[Record], write_sweep: WriteSweep
) -> None:
    for record in controlled:
        if record["axes"]["method"] == "unified":
            record["axes"]["student/size"] = "l3"
    made = tables(collect(write_sweep(controlled)))
    answered = answers(made.runs, made.axes)
    for section in sections(answered):
        titles = [column.title for column in section.columns]
        if any("(%)" in title for title in titles) and section.name != "importance":
            assert "teacher (%)" in titles
    assert {"teacher", "control", "student"} == set(made.summary["role"])


def test_a_study_without_controls_says_so_in_one_sentence(records: list[Record], write_sweep: WriteSweep) -> None:
    console, file = texts(collect(write_sweep(records)))
    for text in (console, file):
        assert text.count("No run has a matched control") == 1 + (text is file)
    assert "control (%)" not in file
