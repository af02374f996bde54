"""The figure of a report: score against parameters, a panel a task, a point a cell, the teacher a dashed line."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from kdbench.report.number import millions
from kdbench.report.table import Tables

# Okabe and Ito's palette without black and yellow, told apart with all common kinds of colour blindness; the marker
# repeats the colour for print in grey. 6 colours and 7 markers: 42 levels before a pair comes back.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT = "#1b1f24", "#d5d8dc"
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # travels with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.facecolor": "none",
    "figure.constrained_layout.w_pad": 0.1,
    "svg.fonttype": "path",
    "svg.hashsalt": "kdbench",
}
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
    students = tables.summary[tables.summary["role"] == "student"]
    levels = {name: tables.runs[name].nunique() for name in tables.varying if name != "data"}
    free = {name: count for name, count in levels.items() if not _told_by(students, name, ["task", "parameters_total"])}
    candidates = free or levels
    return max(candidates, key=lambda name: candidates[name]) if candidates else None


def svg(figure: Figure) -> str:
    """The figure as SVG text, the same for the same numbers."""
    stream = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    return stream.getvalue()


def inline_svg(figure: Figure) -> str:
    """The SVG element alone, its ink and grid in the colours of the page around it, light or dark."""
    text = svg(figure)
    head, rest = text[text.index("<svg") :].split(">", 1)
    # A width in points would keep a phone from shrinking it, and none at all would blow up a single panel.
    attributes = [word for word in head.split() if not word.startswith(("width=", "height="))]
    points = 72 * figure.get_figwidth()
    size = f'style="max-width: {1.5 * points:.0f}px; min-width: {0.9 * points:.0f}px"'
    return f"{' '.join(attributes)} {size}>{rest}".replace(INK, "currentColor").replace(FAINT, "var(--rule)")


def _told_by(students: pd.DataFrame, axis: str, keys: Sequence[str]) -> bool:
    return bool((students.groupby(list(keys), dropna=False)[axis].nunique() <= 1).all())


def _panel(panel: Axes, rows: pd.DataFrame, task: str, axis: str | None, levels: Sequence[str]) -> None:
    students = rows[(rows["role"] == "student") & rows["parameters_total"].notna()]
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
    _log_parameters(panel, students["parameters_total"])


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


def _log_parameters(panel: Axes, parameters: pd.Series) -> None:
    panel.set_xscale("log")
    if len(parameters):
        low, high = float(parameters.min()), float(parameters.max())
        room = max(1.25, (high / low) ** 0.12)
        panel.set_xlim(low / room, high * room)
        # Few ticks of round numbers; a narrow range needs finer ones than a decade has.
        fine = (1, 1.5, 2, 3, 4, 5, 6, 8) if high / low < 4 else (1, 2, 5)
        panel.xaxis.set_major_locator(LogLocator(subs=fine, numticks=99))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{float(millions(value)):g} M"))
