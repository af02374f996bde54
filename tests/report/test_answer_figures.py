"""The figures of the answers: every row and number in them, everything in sight, nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kdbench.report.answer import Answers, answers
from kdbench.report.dot_plot import WIDEST_LABEL, wrapped
from kdbench.report.drawing import svg
from kdbench.report.effect_figure import effect_figure
from kdbench.report.gain_figure import BEST, WORST, gain_figure
from kdbench.report.pareto_figure import pareto_figure

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "method", "knowledge", "student/size"]
COST = {"l2": 5e6, "l4": 2e7, "l6": 6e7}


def score(row: Any) -> float:
    gain = {"": 0.0, "hidden": 0.05, "gram": -0.02}.get(row["knowledge"], 0.01)
    return 0.5 + gain + {"l2": 0.0, "l4": 0.1, "l6": 0.05}[row["student/size"]]


@pytest.fixture
def made(make_runs: MakeRuns) -> Answers:
    runs = make_runs({"knowledge": ["hidden", "gram"], "student/size": list(COST)}, score, noise=0.002, control=True)
    return answers(runs.assign(parameters_total=runs["student/size"].map(COST)), AXES)


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def test_a_panel_an_axis_and_a_row_a_level(made: Answers) -> None:
    figure = effect_figure(made)
    assert figure is not None
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["knowledge", "student/size"]
    rows = [[label.get_text() for label in panel.get_yticklabels()] for panel in figure.axes]
    assert rows == [["hidden", "gram"], ["l4", "l6", "l2"]]  # best first
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first row on top
    low, high = figure.axes[0].get_xlim()
    pooled = made.effects[made.effects["task"] == "all tasks"]
    assert low < 100 * pooled["low"].min() and 100 * pooled["high"].max() < high
    assert legend(figure) == ["all tasks, 95 % interval", "glue/rte", "glue/sst2"]


def test_the_gains_stand_around_the_control(made: Answers) -> None:
    figure = gain_figure(made)
    assert figure is not None
    (panel,) = figure.axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert len(labels) == 7 and labels[-1] == "all cells together" and labels[0].startswith("knowledge=hidden")
    assert [
        line.get_xdata()[0] for line in panel.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ] == [0]  # type: ignore[arg-type, index]
    diamonds = [line for line in panel.lines if line.get_marker() == "D"]
    assert len(diamonds) == 7
    assert legend(figure) == ["all tasks: finding", "all tasks: undecided", "glue/rte", "glue/sst2"]


def test_of_many_cells_the_best_and_worst_are_drawn(make_runs: MakeRuns) -> None:
    axes = {"knowledge": [f"k{place}" for place in range(10)], "student/size": list(COST)}
    figure = gain_figure(answers(make_runs(axes, score, tasks=["rte"], control=True), AXES))
    assert figure is not None and len(figure.axes[0].get_yticklabels()) == BEST + WORST + 1
    assert "16 best and 8 worst of 30 cells" in figure.axes[0].get_xlabel()


def test_the_front_is_numbered_by_cost(made: Answers) -> None:
    figure = pareto_figure(made)
    assert figure is not None
    sizes, clock = figure.axes
    numbers = [text.get_text() for text in sizes.texts if text.get_text().isdigit()]
    assert numbers == ["1", "2"]
    assert legend(figure)[:2] == [
        "method=unified, knowledge=hidden, student/size=l2",
        "method=unified, knowledge=hidden, student/size=l4",
    ]
    assert legend(figure)[2:] == ["a dominated cell", "a control"]
    low, high = sizes.get_ylim()
    assert low < 48 and high > 90 and clock.get_xscale() == "log"  # the teacher stands at 90


def test_figures_are_the_same_for_the_same_numbers(made: Answers) -> None:
    for draw in (effect_figure, gain_figure, pareto_figure):
        one, other = draw(made), draw(made)
        assert one is not None and other is not None and svg(one) == svg(other)


def test_nothing_to_draw_is_no_figure(make_runs: MakeRuns) -> None:
    lone = make_runs({"knowledge": ["hidden"], "student/size": ["l2"]}, score, tasks=["rte"], seeds=[1])
    lone = lone.assign(parameters_total=np.nan, latency_ms_batch_1=np.nan)
    found = answers(lone, AXES)
    assert effect_figure(found) is None and gain_figure(found) is None and pareto_figure(found) is None


def test_a_long_name_is_broken_between_axes() -> None:
    name = "knowledge=value_relation, matching=penultimate, student/size=l12_h384, initialization=random"
    lines = wrapped(name).split("\n")
    assert " ".join(lines) == name and all(len(line) <= WIDEST_LABEL + 1 for line in lines)
    assert wrapped("short") == "short"
    assert wrapped("x" * 60) == "x" * 60
