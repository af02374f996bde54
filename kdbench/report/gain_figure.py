"""The figure of the gains: every distilled cell against its matched control."""

from __future__ import annotations

from matplotlib import rc_context
from matplotlib.figure import Figure

from kdbench.report.answer import Answers
from kdbench.report.dot_plot import dots, legend, limits, row_inches
from kdbench.report.drawing import STYLE
from kdbench.report.gain import EVERY_CELL

BEST, WORST = 16, 8  # of more cells than these together, as many are drawn


def gain_figure(answers: Answers) -> Figure | None:
    """A row a cell, best on top, all cells together last, the control a line at 0; None without a control."""
    table = answers.gains.rename(columns={"difference": "value"})
    pooled = table[table["task"] == answers.pooled].set_index("cell")
    if pooled.empty:
        return None
    label = "gain over the matched control (points of score)"
    cells = [str(cell) for cell in pooled.index if cell != EVERY_CELL]
    if len(cells) > BEST + WORST:
        label += f"\nthe {BEST} best and {WORST} worst of {len(cells)} cells"
        cells = [*cells[:BEST], *cells[-WORST:]]
    cells += [EVERY_CELL] if EVERY_CELL in pooled.index else []
    pooled = pooled.loc[cells]
    tasks = [str(task) for task in dict.fromkeys(table["task"]) if task != answers.pooled]
    each = [table[table["task"] == task].set_index("cell")["value"].reindex(cells) for task in tasks]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.8, row_inches(cells) * len(cells) + 1.2), layout="constrained")
        panel = figure.subplots()
        dots(panel, cells, pooled, each, pooled["finding"].astype(bool))
        panel.set_xlim(*limits(pooled, each))
        panel.set_xlabel(label)
        legend(figure, tasks, finding=True)
    return figure
