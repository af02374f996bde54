"""The figure of a search of two objectives: its finished trials, and the front that nothing beats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbench.report.drawing import COLOURS, FAINT, PAPER, STYLE
from kdbench.report.trial import Trial, Trials
from kdbench.report.trial_table import shown_as

FRONT, REST = COLOURS[0], "#7d8791"


def trial_figure(searches: Sequence[Trials]) -> Figure | None:
    """A panel a search of two objectives with a finished trial; None where there is none."""
    drawn = [each for each in searches if len(each.objectives) == 2 and _finished(each)]
    if not drawn:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(4.8 * len(drawn), 3.4), layout="constrained")
        for panel, search in zip(figure.subplots(1, len(drawn), squeeze=False).flatten(), drawn, strict=True):
            _panel(panel, search, titled=len(drawn) > 1)
    return figure


def _finished(search: Trials) -> list[Trial]:
    return [trial for trial in search.trials if trial.state == "finished"]


def _panel(panel: Axes, search: Trials, titled: bool) -> None:
    """A maximised objective upwards over a minimised one; the numbers are those of the trials."""
    across, upwards = (1, 0) if [way for _, way in search.objectives] == ["maximize", "minimize"] else (0, 1)
    titles, factors, _ = zip(*(shown_as(name) for name, _ in search.objectives), strict=True)
    points = [
        (trial, (trial.values[across] * factors[across], trial.values[upwards] * factors[upwards]))
        for trial in _finished(search)
    ]
    for within, marker in ((True, "o"), (False, "x")):
        rest = [point for trial, point in points if not trial.best and trial.within == within]
        panel.plot(*_coordinates(rest), marker, markersize=5, color=REST, markerfacecolor=PAPER)
    front: dict[tuple[float, float], list[int]] = {}
    for trial, point in sorted(points, key=lambda each: each[1]):
        if trial.best:
            front.setdefault(point, []).append(trial.number)
    panel.plot(*_coordinates(front), "o-", markersize=6.5, linewidth=1.2, color=FRONT)
    for point, equal in front.items():
        text = ", ".join(map(str, equal))
        panel.annotate(text, point, xytext=(4, 5), textcoords="offset points", fontsize=8.5, color=FRONT)
    panel.set_title(search.name if titled else "")
    panel.set_xlabel(titles[across])
    panel.set_ylabel(titles[upwards])
    panel.margins(0.12)
    panel.grid(color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)


def _coordinates(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    found = list(points)
    return [x for x, _ in found], [y for _, y in found]
