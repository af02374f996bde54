"""One line of the table: what was measured, against whom, and whether that is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.measure import Spread

Verdict = Literal["pass", "missed", "shown", "skipped", "not measured"]


@dataclass(frozen=True)
class Line:
    """A measured figure and its gate.

    Attributes:
        id: of the goal.
        what: is measured.
        peer: what it is compared with.
        figure: median, least and greatest of the rounds; None where nothing was measured, and `note` says why.
        gate: None where the figure is only shown.
        at_most: the figure must not be above its gate; otherwise not below it.
        unit: `x` for how many times as fast, `%`, `ms`, or nothing.
        missing: what a line without a figure is: a peer that is not there is `skipped`, a machine that is not there
            leaves a line `not measured`.
        note: what was checked before, or why there is no figure.
        details: for the JSON file; `students_per_hour` {side: number} is drawn.
    """

    id: str
    what: str
    peer: str
    figure: Spread | None
    gate: float | None
    at_most: bool = False
    unit: str = "x"
    missing: Literal["skipped", "not measured"] = "skipped"
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def asked(self, quick: bool) -> float | None:
        """The gate; a quick run, whose few students and rows cannot show it all, asks a third of a gain."""
        if quick and self.unit == "x" and self.gate is not None and self.gate > 1:
            return 1 + (self.gate - 1) / 3
        return self.gate

    def verdict(self, quick: bool) -> Verdict:
        if self.figure is None:
            return self.missing
        asked = self.asked(quick)
        if asked is None:
            return "shown"
        holds = self.figure[0] <= asked if self.at_most else self.figure[0] >= asked
        return "pass" if holds else "missed"

    def cells(self, quick: bool) -> list[str]:
        """The row of the table."""
        asked = self.asked(quick)
        sign = "at most" if self.at_most else "at least"
        gate = "" if asked is None else f"{sign} {shown(asked, self.unit)}"
        figure = "" if self.figure is None else _with_range(self.figure, self.unit)
        return [self.id, self.what, self.peer, figure, gate, self.verdict(quick)]


HEADER = ["", "what", "peer", "median (range)", "gate", ""]


def table(lines: Sequence[Line], quick: bool) -> str:
    """All lines as Markdown, and below them what was noted of each."""
    rows = [HEADER, ["---"] * len(HEADER), *(line.cells(quick) for line in lines)]
    notes = [f"- {line.id}: {line.note}" for line in lines if line.note]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", *notes])


def as_json(line: Line, quick: bool) -> dict[str, Any]:
    return {
        "id": line.id,
        "what": line.what,
        "peer": line.peer,
        "figure": line.figure and dict(zip(("median", "least", "greatest"), line.figure, strict=True)),
        "gate": line.asked(quick),
        "at_most": line.at_most,
        "unit": line.unit,
        "verdict": line.verdict(quick),
        "note": line.note,
        "details": dict(line.details),
    }


def shown(value: float, unit: str) -> str:
    """A number as the table has it: `4.2x`, `0.31 %`."""
    return f"{value:.3g}{unit}" if unit == "x" else f"{value:.3g} {unit}".rstrip()


def _with_range(figure: Spread, unit: str) -> str:
    middle, least, greatest = (shown(value, unit) for value in figure)
    return f"{middle} ({least} to {greatest})" if least != greatest else middle
