"""The figure of what a budget buys: score against parameters and latency, with the cells that nothing dominates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kdbench.report.answer import Answers
from kdbench.report.drawing import COLOURS, FAINT, INK, PAPER, STYLE, log_parameters
from kdbench.report.pareto import LATENCY, PARAMETERS

FRONT, REST = COLOURS[0], "#7d8791"


def pareto_figure(answers: Answers) -> Figure | None:
    """A panel a known cost; numbers tell the cells of the fronts. None where no cell has a cost."""
    table = answers.cells
    costs = [cost for cost in (PARAMETERS, LATENCY) if table[cost].notna().any()]
    if not costs:
        return None
    front = table[table[[f"front_{cost}" for cost in costs]].any(axis=1)]
    numbers = {index: place + 1 for place, index in enumerate(front.sort_values(costs[0]).index)}
    with rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(costs) + 0.4, 3.3 + 0.2 * (len(front) + 1)), layout="constrained")
        panels = figure.subplots(1, len(costs), sharey=True, squeeze=False).flatten()
        for panel, cost in zip(panels, costs, strict=True):
            _panel(panel, table[table[cost].notna()], cost, numbers)
        panels[0].set_ylabel("mean score (%)" if answers.runs["task"].nunique() > 1 else "score (%)")
        figure.legend(handles=_marks(table, numbers), loc="outside lower left", frameon=False, handletextpad=0.6)
    return figure


def _panel(panel: Axes, table: pd.DataFrame, cost: str, numbers: Mapping[Hashable, int]) -> None:
    for role, marker in (("student", "o"), ("control", "s")):
        own = table[(table["role"] == role) & ~table[f"front_{cost}"]]
        panel.plot(own[cost], 100 * own["score"], marker, markersize=5, color=REST, markerfacecolor=PAPER, zorder=3)
    best = table[table[f"front_{cost}"]].sort_values(cost)
    panel.step(best[cost], 100 * best["score"], where="post", color=FRONT, linewidth=1.2, zorder=2)
    for index, row in best.iterrows():
        marker = "s" if row["role"] == "control" else "o"
        panel.plot(row[cost], 100 * row["score"], marker, markersize=6.5, color=FRONT, zorder=4)
        panel.annotate(
            str(numbers[index]), (row[cost], 100 * row["score"]), xytext=(-6, 5), textcoords="offset points",
            ha="right", va="bottom", fontsize=8.5, fontweight="bold", color=FRONT,
        )  # fmt: skip
    for teacher in sorted(set(table["teacher"].dropna().round(6))):
        panel.axhline(100 * teacher, color=INK, linestyle=(0, (5, 3)), linewidth=1, zorder=1)
        panel.annotate(
            "teacher", (0, 100 * teacher), xycoords=("axes fraction", "data"), xytext=(3, 3),
            textcoords="offset points", ha="left", va="bottom", fontsize=8,
        )  # fmt: skip
    panel.set_title("parameters" if cost == PARAMETERS else "latency")
    panel.margins(y=0.14)
    panel.grid(axis="y", color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    log_parameters(panel, table[cost])
    if cost == LATENCY:
        panel.set_xlabel("milliseconds, a batch of 1")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        panel.set_xlabel("parameters of the student")


def _marks(table: pd.DataFrame, numbers: Mapping[Hashable, int]) -> list[Line2D]:
    marks = [
        Line2D([], [], color=FRONT, marker=f"${number}$", markersize=6, linestyle="none", label=cell)
        for number, cell in zip(numbers.values(), table.loc[list(numbers), "cell"], strict=True)
    ]
    roles = [("o", "a dominated cell", "student"), ("s", "a control", "control")]
    return marks + [
        Line2D([], [], color=REST, marker=marker, markerfacecolor=PAPER, markersize=5, linestyle="none", label=label)
        for marker, label, role in roles
        if (table["role"] == role).any()
    ]
