"""The figure: a panel a task, a point a cell, the teacher's line, and the right axis in colour."""

from __future__ import annotations

import re
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from kdbench.report.collect import collect
from kdbench.report.drawing import FAINT, INK, PAPER, inline_svg, svg
from kdbench.report.figure import colour_axis, score_figure
from kdbench.report.table import Tables, tables

Record = dict[str, Any]
WriteSweep = Callable[..., Path]
MakeRecord = Callable[..., Record]


@pytest.fixture
def made(records: list[Record], write_sweep: WriteSweep) -> Tables:
    return tables(collect(write_sweep(records)))


def points(panel: Axes) -> list[tuple[float, float]]:
    pairs = (pair for bars in panel.containers for pair in zip(*bars.lines[0].get_data(), strict=True))
    return sorted((float(x), float(y)) for x, y in pairs)


def test_one_panel_a_task_one_point_a_cell(made: Tables) -> None:
    panels = score_figure(made).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["glue/rte", "glue/stsb"]
    assert points(panels[0]) == [(11e6, pytest.approx(50)), (11e6, pytest.approx(60))]
    assert panels[1].get_ylabel() == "pearson on validation (%)"
    assert all(panel.get_xscale() == "log" for panel in panels)


def test_everything_drawn_is_in_sight(made: Tables) -> None:
    for panel, teacher in zip(score_figure(made).axes, (80, 90), strict=True):
        low, high = panel.get_ylim()
        assert low < min(y for _, y in points(panel)) - 1.4 and teacher < high
        dashed = [line for line in panel.lines if line.get_linestyle() == "--"]
        assert [line.get_ydata()[0] for line in dashed] == [pytest.approx(teacher)]  # type: ignore[index]


def test_the_colour_is_not_what_the_parameters_tell(make_record: MakeRecord, write_sweep: WriteSweep) -> None:
    made_records = []
    for size in range(4):
        for knowledge in ("label", "logits"):
            axes = {"student/size": f"l{size}", "knowledge": knowledge, "seed": "1"}
            record = make_record(f"{len(made_records):016x}", axes, {"validation/accuracy": 0.5}, None)
            record["student"]["parameters"] = {"total": 10**6 * (size + 1), "embeddings": 0, "encoder": 0}
            made_records.append(record)
    assert colour_axis(tables(collect(write_sweep(made_records)))) == "knowledge"
    sizes_alone = tables(collect(write_sweep(made_records[::2], folder="second")))
    assert colour_axis(sizes_alone) == "student/size"


def test_the_axis_with_most_levels_wins(make_record: MakeRecord, write_sweep: WriteSweep) -> None:
    made_records = [
        make_record(matching + knowledge, {"knowledge": knowledge, "matching": matching}, {"validation/f1": 0.5}, None)
        for matching in ("m0", "m1", "m2")
        for knowledge in ("k0", "k1")
    ]
    made = tables(collect(write_sweep(made_records)))
    assert colour_axis(made) == "matching"
    (legend,) = score_figure(made).legends
    assert [text.get_text() for text in legend.get_texts()] == ["m0", "m1", "m2"]


def test_a_lone_run_is_drawn_without_a_legend(records: list[Record], write_sweep: WriteSweep) -> None:
    figure = score_figure(tables(collect(write_sweep(records[:1]))))
    assert points(figure.axes[0]) == [(11e6, pytest.approx(49))] and not figure.legends
    assert "<svg" in svg(figure)


def test_many_tasks_fill_rows_without_empty_panels(make_record: MakeRecord, write_sweep: WriteSweep) -> None:
    made_records = [
        make_record(f"{index:016x}", {"data": f"t{index}"}, {"validation/accuracy": 0.5}, None, f"t{index}")
        for index in range(5)
    ]
    assert len(score_figure(tables(collect(write_sweep(made_records)))).axes) == 5


def test_the_same_numbers_make_the_same_file(made: Tables) -> None:
    assert svg(score_figure(made)) == svg(score_figure(made))


def test_the_inline_figure_takes_the_colours_of_the_page(made: Tables) -> None:
    text = inline_svg(score_figure(made), "score")
    root = xml.etree.ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and "viewBox" in root.attrib and "width" not in root.attrib
    assert "currentColor" in text and INK not in text and FAINT not in text and PAPER not in text


def test_two_figures_of_a_page_share_no_id(made: Tables) -> None:
    found = []
    for name in ("one", "other"):
        text = inline_svg(score_figure(made), name)
        ids = set(re.findall(r'\bid="([^"]+)"', text))
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert used and used <= ids
        found.append(ids)
    assert not found[0] & found[1]


def test_blank_is_no_level_to_colour_by(make_record: MakeRecord, write_sweep: WriteSweep) -> None:
    made_records = []
    for number, (method, projection) in enumerate((("label", ""), ("unified", "a"), ("unified", "b"), ("kd", ""))):
        axes = {"projection": projection, "method": method}
        made_records.append(make_record(f"{number:016x}", axes, {"validation/f1": 0.5}, None))
    assert colour_axis(tables(collect(write_sweep(made_records)))) == "method"
