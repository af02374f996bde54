"""The figure of a report: score against parameters, a panel a task, a point a cell, the teacher a dashed line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from kdbench.report.drawing import COLOURS, FAINT, INK, MARKERS, STYLE, log_parameters
from kdbench.report.table import Tables

PANELS_A_ROW = 3
DODGE_POINTS = 7.0  # levels of one size stand beside each other, so that no error bar hides another


def score_figure(tables: Tables) -> Figure:
    """The figure of a summary, its colours and markers by `colour_axis`."""
    axis = colour_axis(tables)
    levels = list(dict.fromkeys(tables.runs[axis])) if axis else [""]
    tasks = list(dict.fromkeys(tables.summary["task"]))
    across = min(len(tasks), PANELS_A_ROW)
    down = math.ceil(len(tasks) / across)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.8, 3.3 * across), 3.1 * down + 0.5), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).flatten()
        for panel, task in zip(panels, tasks, strict=False):
            _panel(panel, tables.summary[tables.summary["task"] == task], task, axis, levels)
        for panel in panels[len(tasks) :]:
            panel.remove()
        if axis and len(levels) > 1:
            marks = [_mark(levels.index(level), level) for level in levels]
            figure.legend(
                handles=marks,
                title=axis,
                loc="outside lower center",
                ncols=min(len(levels), 2 + 2 * (across - 1)),
                frameon=False,
            )
    return figure


def colour_axis(tables: Tables) -> str | None:
    """The axis that varies most, besides the seed and what the panels and the parameters tell already.

    Where nothing else varies, an axis that only tells the size is better than none.
    """
    students = tables.summary[tables.summary["role"] != "teacher"]
    # Blank is no level: it only says that a run does not read the axis.
    counts = {name: tables.runs[name][tables.runs[name] != ""].nunique() for name in tables.varying}
    levels = {name: count for name, count in counts.items() if name != "data"}
    free = {name: count for name, count in levels.items() if not _told_by(students, name, ["task", "parameters_total"])}
    candidates = free or levels
    return max(candidates, key=lambda name: candidates[name]) if candidates else None


def _told_by(students: pd.DataFrame, axis: str, keys: Sequence[str]) -> bool:
    return bool((students.groupby(list(keys), dropna=False)[axis].nunique() <= 1).all())


def _panel(panel: Axes, rows: pd.DataFrame, task: str, axis: str | None, levels: Sequence[str]) -> None:
    students = rows[(rows["role"] != "teacher") & rows["parameters_total"].notna()]
    for place, level in enumerate(levels):
        cells = students[students[axis] == level] if axis else students
        shift = (place - (len(levels) - 1) / 2) * min(DODGE_POINTS, 32 / len(levels))
        _points(panel, cells, place, shift)
    for _, teacher in rows[rows["role"] == "teacher"].iterrows():
        panel.axhline(100 * teacher["score_mean"], color=INK, linestyle=(0, (5, 3)), linewidth=1, zorder=1)
        panel.annotate(
            "teacher", (0, 100 * teacher["score_mean"]), xycoords=("axes fraction", "data"), xytext=(3, 3),
            textcoords="offset points", ha="left", va="bottom", fontsize=8,
        )  # fmt: skip
    panel.set_title(task)
    panel.set_ylabel(_metric(str(rows["score_name"].iloc[0])))
    panel.set_xlabel("parameters")
    panel.grid(axis="y", color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    _room_for_scores(panel, rows)
    log_parameters(panel, students["parameters_total"])


def _points(panel: Axes, cells: pd.DataFrame, place: int, shift: float) -> None:
    figure: Any = panel.get_figure()
    beside = panel.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    panel.errorbar(
        cells["parameters_total"],
        100 * cells["score_mean"],
        yerr=100 * cells["score_sd"].fillna(0.0),
        transform=beside,
        linestyle="none",
        color=COLOURS[place % len(COLOURS)],
        marker=MARKERS[place % len(MARKERS)],
        markersize=5,
        elinewidth=1.2,
        zorder=3,
    )


def _metric(score_name: str) -> str:
    split, name = score_name.split("/", 1)
    return f"{name.replace('_', ' ')} on {split} (%)"


def _room_for_scores(panel: Axes, rows: pd.DataFrame) -> None:
    """The limits of the scores; matplotlib's own do not follow points that are placed beside their data."""
    means, deviations = 100 * rows["score_mean"], 100 * rows["score_sd"].fillna(0.0)
    low, high = float((means - deviations).min()), float((means + deviations).max())
    if math.isfinite(low):
        room = max(0.08 * (high - low), 0.5)
        panel.set_ylim(low - room, high + 1.5 * room)


def _mark(place: int, label: str) -> Line2D:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    return Line2D([], [], color=colour, marker=marker, markersize=5, linestyle="none", label=label or "(none)")
