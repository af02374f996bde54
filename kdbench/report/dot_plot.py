"""A dot plot: one row a level or a cell, the difference with its interval, and every task's own beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdbench.report.drawing import COLOURS, FAINT, INK, MARKERS, PAPER

ROW_INCHES, LINE_INCHES = 0.34, 0.14
WIDEST_LABEL = 44  # characters; a cell's name of many axes goes on in the next line
ROOM = 0.08  # of the range of the values, on either side


def dots(
    panel: Axes, labels: Sequence[str], pooled: pd.DataFrame, each: Sequence[pd.Series], filled: pd.Series
) -> None:
    """Draw one row a label, the first on top, in points of score around a line at 0.

    Args:
        panel: to draw on.
        labels: of the rows.
        pooled: `value`, `low` and `high` of each row, indexed by label; NaN for no interval.
        each: one series a task, its value indexed by label; drawn small, in the task's colour, below the row's centre.
        filled: whether a row's mark is filled, indexed by label.
    """
    panel.axvline(0, color=INK, linewidth=0.9, zorder=1)
    values = pooled[["value", "low", "high"]].loc[list(labels)].to_numpy(dtype=float)
    for place, (label, (value, low, high)) in enumerate(zip(labels, 100 * values, strict=True)):
        if place % 2:
            panel.axhspan(place - 0.5, place + 0.5, color=FAINT, alpha=0.35, linewidth=0, zorder=0)
        lift = -0.12 if each else 0.0
        if math.isfinite(low):
            panel.plot([low, high], [place + lift] * 2, color=INK, linewidth=1.6, solid_capstyle="butt", zorder=3)
        face = INK if filled[label] else PAPER
        panel.plot(value, place + lift, marker="D", markersize=5.5, color=INK, markerfacecolor=face, zorder=4)
        for task, own in enumerate(each):
            if label in own.index:
                panel.plot(
                    100 * own[label],
                    place + 0.24,
                    color=COLOURS[task % len(COLOURS)],
                    marker=MARKERS[task % len(MARKERS)],
                    markersize=3.6,
                    zorder=2,
                )
    panel.set_yticks(range(len(labels)), [wrapped(label) for label in labels])
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.grid(axis="x", color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))


def wrapped(label: str) -> str:
    """A cell's name on lines of at most `WIDEST_LABEL` characters, broken between its axes."""
    lines = [""]
    for part in label.split(", "):
        longer = f"{lines[-1]}, {part}" if lines[-1] else part
        lines[-1:] = [longer] if len(longer) <= WIDEST_LABEL or not lines[-1] else [lines[-1] + ",", part]
    return "\n".join(lines)


def row_inches(labels: Sequence[str]) -> float:
    """The height of a row that its longest label needs."""
    return ROW_INCHES + LINE_INCHES * max(wrapped(label).count("\n") for label in labels)


def limits(pooled: pd.DataFrame, each: Sequence[pd.Series]) -> tuple[float, float]:
    """The range that holds every value and interval, and 0, with some room."""
    columns = [pooled[name] for name in ("value", "low", "high")]
    ends = 100 * pd.concat([*columns, *each, pd.Series([0.0])]).dropna().astype(float)
    low, high = float(ends.min()), float(ends.max())
    room = max(ROOM * (high - low), 0.1)
    return low - room, high + room


def legend(figure: Figure, tasks: Sequence[str], finding: bool) -> None:
    """The marks of the pooled value and of the tasks, in one line below the figure."""
    every = "all tasks" if tasks else "mean"
    marks = [_mark("D", INK, INK, f"{every}: finding" if finding else f"{every}, 95 % interval", 5.5)]
    if finding:
        marks.append(_mark("D", INK, PAPER, f"{every}: undecided", 5.5))
    for place, task in enumerate(tasks):
        colour = COLOURS[place % len(COLOURS)]
        marks.append(_mark(MARKERS[place % len(MARKERS)], colour, colour, task, 4.5))
    letters = sum(len(str(mark.get_label())) for mark in marks)
    inches = 0.062 * letters + 0.45 * len(marks)  # of one line of 8 points
    lines = math.ceil(inches / figure.get_figwidth())
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=math.ceil(len(marks) / lines),
        fontsize=8,
        columnspacing=1.3,
        handletextpad=0.2,
        frameon=False,
    )


def _mark(marker: str, colour: str, face: str, label: str, size: float) -> Line2D:
    return Line2D(
        [], [], color=colour, marker=marker, markerfacecolor=face, markersize=size, linestyle="none", label=label
    )
