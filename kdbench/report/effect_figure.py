"""The figure of the main effects: a panel an axis, a row a level."""

from __future__ import annotations

from matplotlib import rc_context
from matplotlib.figure import Figure

from kdbench.report.answer import Answers
from kdbench.report.dot_plot import ROW_INCHES, dots, legend, limits
from kdbench.report.drawing import STYLE


def effect_figure(answers: Answers) -> Figure | None:
    """Every level's effect with its interval, the best level of an axis on top; None where there is none."""
    table = answers.effects
    pooled = table[table["task"] == answers.pooled].rename(columns={"effect": "value"})
    shown = [factor for factor in answers.factors if (pooled["axis"] == factor.axis).any()]
    if not shown:
        return None
    tasks = [str(task) for task in dict.fromkeys(table["task"]) if task != answers.pooled]
    rows = [int((pooled["axis"] == factor.axis).sum()) for factor in shown]
    with rc_context(STYLE):
        height = ROW_INCHES * sum(rows) + 0.45 * len(rows) + 0.9
        figure = Figure(figsize=(6.4, height), layout="constrained")
        panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False, height_ratios=rows).flatten()
        for panel, factor in zip(panels, shown, strict=True):
            own = pooled[pooled["axis"] == factor.axis].set_index("level").sort_values("value", ascending=False)
            of_axis = table[table["axis"] == factor.axis]
            each = [of_axis[of_axis["task"] == task].set_index("level")["effect"] for task in tasks]
            dots(panel, list(own.index), own, each, own["value"].notna())
            beside = f" (with {', '.join(factor.followers)})" if factor.followers else ""
            panel.set_title(factor.axis + beside)
        every = [table[table["task"] == task]["effect"] for task in tasks]
        panels[-1].set_xlim(*limits(pooled, every))
        panels[-1].set_xlabel("difference from the other levels (points of score)")
        legend(figure, tasks, finding=False)
    return figure
