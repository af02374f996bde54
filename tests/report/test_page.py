"""The page: well-formed, self-contained, complete, and safe with any text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kdbench.report.answer import answers
from kdbench.report.collect import collect
from kdbench.report.drawing import inline_svg
from kdbench.report.figure import score_figure
from kdbench.report.gain_figure import gain_figure
from kdbench.report.guideline import guideline
from kdbench.report.page import page, versions
from kdbench.report.printed import printed
from kdbench.report.table import tables

Record = dict[str, Any]
WriteSweep = Callable[..., Path]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The tags balanced, with the texts, the tables' cells and every address the browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.rows: list[list[str]] = []
        self.ids: list[str] = []
        self.figures = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "svg":
            self.figures += 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.addresses.append(value or "")
            elif name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def build(folder: Path) -> str:
    study = collect(folder)
    made = tables(study)
    answered = answers(made.runs, made.axes)
    figures = {"score": inline_svg(score_figure(made), "score")}
    if (gained := gain_figure(answered)) is not None:
        figures["gains"] = inline_svg(gained, "gains")
    date = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    return page(study, made, answered, guideline(answered), figures, date)


def test_the_page_holds_every_cell_and_run(records: list[Record], write_sweep: WriteSweep) -> None:
    folder = write_sweep(records)
    parsed = Page(build(folder))
    columns = printed(tables(collect(folder)))
    rows = [list(row) for row in zip(*(column.texts for column in columns), strict=True)]
    assert parsed.rows[0] == [column.title for column in columns]
    assert parsed.rows[1 : 1 + len(rows)] == rows
    for record in records:
        assert any(record["signature"] in row for row in parsed.rows)
    text = "".join(parsed.texts)
    for said in ("which-knowledge", "2026-11-21 08:30 UTC", "unified", "2.13.0", "abc123", "8 runs"):
        assert said in text


def test_the_page_needs_no_other_file(records: list[Record], write_sweep: WriteSweep) -> None:
    text = build(write_sweep(records))
    parsed = Page(text)
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    assert {address[1:] for address in parsed.addresses if address.startswith("#")} <= set(parsed.ids)
    assert "url(http" not in text and "@import" not in text and "<script src" not in text


def test_failed_and_impossible_jobs_are_listed(records: list[Record], write_sweep: WriteSweep) -> None:
    more = [
        {"signature": None, "overrides": ["a=1"], "axes": {}, "status": "impossible", "reason": "widths differ"},
        {"signature": "f" * 16, "overrides": ["b=2"], "axes": {}, "status": "failed", "reason": "the loss is NaN"},
    ]
    parsed = Page(build(write_sweep(records, more)))
    assert ["impossible", "a=1", "widths differ"] in parsed.rows
    assert ["failed", "b=2", "the loss is NaN"] in parsed.rows
    assert "without-result" in parsed.ids


def test_guards_are_repeated_with_their_runs(records: list[Record], write_sweep: WriteSweep) -> None:
    records[2]["guards"] = ["the teacher is worse than the student's start"]
    text = build(write_sweep(records))
    assert "the teacher is worse than the student&#39;s start" in text


def test_no_text_becomes_markup(records: list[Record], write_sweep: WriteSweep) -> None:
    for record in records:
        record["axes"]["knowledge"] += "<script>alert(1)</script>"
    text = build(write_sweep(records, name="<b>& a question?"))
    assert "<script>alert" not in text and "<b>&" not in text
    Page(text)


def test_a_lone_run_has_a_page(records: list[Record], write_sweep: WriteSweep) -> None:
    assert "1 run on glue/rte" in "".join(Page(build(write_sweep(records[:1]))).texts)


def test_all_versions_are_told() -> None:
    made = [{"versions": {"torch": "2.13.0"}, "git": "a"}, {"versions": {"torch": "2.14.0"}, "git": "a"}, {}]
    assert versions(made) == {"git commit": "a", "torch": "2.13.0, 2.14.0"}


@pytest.mark.parametrize("condition", ["prefers-color-scheme: dark", 'name="viewport"', "max-width"])
def test_the_page_suits_night_and_phone(records: list[Record], write_sweep: WriteSweep, condition: str) -> None:
    assert condition in build(write_sweep(records[:1]))


def test_the_answer_stands_in_the_page(records: list[Record], write_sweep: WriteSweep) -> None:
    for record in records:
        record["axes"]["method"] = "label" if record["axes"]["knowledge"] == "label" else "unified"
    text = build(write_sweep(records))
    parsed = Page(text)
    said = " ".join("".join(parsed.texts).split())
    for title in ("Answer", "What they leave undecided", "Gain over the control", "Each task by itself"):
        assert title in said
    assert "No gain or loss of method=unified against its control could be shown: 10.0 points" in said
    assert len(parsed.ids) == len(set(parsed.ids)) and parsed.figures == 2


def test_a_section_without_a_table_says_why(records: list[Record], write_sweep: WriteSweep) -> None:
    said = "".join(Page(build(write_sweep(records[:1]))).texts)
    assert "No run has a matched control" in said and "there is nothing to compare" in said
