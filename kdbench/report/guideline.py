"""The guideline: what the numbers support and what they leave open, in plain sentences with figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdbench.report.answer import Answers
from kdbench.report.gain import EVERY_CELL
from kdbench.report.number import point_decimals, points, probability
from kdbench.report.remark import remarks

MOST_FINDINGS = 6  # of an axis, and of the cells; the tables have the rest
MOST_UNDECIDED = 3  # above, one sentence sums them up
FEWEST_FOR_A_FINDING = 6  # 2 / 2**6 is the first exact p below 0.05

Row = dict[str, Any]


@dataclass(frozen=True)
class Guideline:
    """Sentences: `supported` by the data, `undecided` by them, and `remarks` on how to read both."""

    supported: tuple[str, ...]
    undecided: tuple[str, ...]
    remarks: tuple[str, ...]


def guideline(answers: Answers) -> Guideline:
    """The guideline of a study, from its tests over all tasks.

    A sentence is a finding where `is_finding` holds, so that a table of nothing but noise yields a false one in at most
    1 of 20 reports, however many comparisons it makes. All else is undecided: never "no effect".
    """
    gains = answers.gains[answers.gains["task"] == answers.pooled]
    compared = answers.comparisons[answers.comparisons["task"] == answers.pooled]
    supported, undecided = _gains(_rows(gains), answers)
    for factor in answers.factors:
        rows = _rows(compared[compared["axis"] == factor.axis])
        found = sorted((row for row in rows if row["finding"]), key=lambda row: -row["difference"])
        supported += [_beats(row, answers) for row in found[:MOST_FINDINGS]]
        if len(found) - MOST_FINDINGS > 0:
            supported.append(
                f"{len(found)} of the {len(rows)} comparisons of {factor.axis} are findings; those not named here have "
                f"smaller differences and stand in the table."
            )
        undecided += _open_comparisons(factor.axis, [row for row in rows if not row["finding"]], len(rows))
    return Guideline(tuple(supported), tuple(undecided), tuple(remarks(answers, len(gains) + len(compared))))


def _gains(rows: Sequence[Row], answers: Answers) -> tuple[list[str], list[str]]:
    found = sorted((row for row in rows if row["finding"]), key=lambda row: row["cell"] != EVERY_CELL)
    left = [row for row in rows if not row["finding"]]
    supported = [_gained(row, answers) for row in found]
    cells = [row for row in found if row["cell"] != EVERY_CELL]
    if len(found) > MOST_FINDINGS:
        # The best and the worst of many cells, for the rest their number.
        named = [row for row in found if row["cell"] == EVERY_CELL or row in (cells[0], cells[-1])]
        gained = sum(row["difference"] > 0 for row in cells)
        supported = [
            f"Of {len(rows) - 1} distilled cells, {gained} gain over their control and {len(cells) - gained} lose.",
            *(_gained(row, answers) for row in named),
        ]
    if len(left) <= MOST_UNDECIDED:
        return supported, [
            f"No gain or loss of {row['cell']} against its control could be shown: {_figures(row)}." for row in left
        ]
    largest, smallest = (pick(left, key=lambda row: row["difference"]) for pick in (max, min))
    return supported, [
        f"No gain or loss against the control could be shown in {len(left)} of {len(rows)} cases. The largest of these "
        f"is that of {largest['cell']}: {_figures(largest)}. The smallest is that of {smallest['cell']}: "
        f"{_figures(smallest)}."
    ]


def _open_comparisons(axis: str, rows: Sequence[Row], compared: int) -> list[str]:
    if len(rows) <= MOST_UNDECIDED:
        return [
            f"No difference between {_level(row, 'first')} and {_level(row, 'second')} could be shown: {_figures(row)}."
            for row in rows
        ]
    largest = max(rows, key=lambda row: row["difference"])
    return [
        f"No difference could be shown in {len(rows)} of the {compared} comparisons of {axis}; the largest of these is "
        f"{_level(largest, 'first')} against {_level(largest, 'second')}: {_figures(largest)}."
    ]


def _beats(row: Row, answers: Answers) -> str:
    agreeing = _agreeing(answers.comparisons, row, answers)
    decimals = point_decimals(row["difference"])
    return (
        f"{_level(row, 'first')} beats {_level(row, 'second')} by {points(row['difference'], decimals)} points "
        f"({_evidence(row, decimals, '95 % interval ')}{agreeing})."
    )


def _gained(row: Row, answers: Answers) -> str:
    gain = row["difference"]
    decimals = point_decimals(gain)
    subject = "Distillation, over all cells together," if row["cell"] == EVERY_CELL else row["cell"]
    verb, preposition = ("gains", "over") if gain > 0 else ("loses", "against")
    low, high = (row["low"], row["high"]) if gain > 0 else (-row["high"], -row["low"])
    evidence = _evidence(row | {"low": low, "high": high}, decimals, "95 % interval ")
    return (
        f"{subject} {verb} {points(abs(gain), decimals)} points {preposition} its control "
        f"({evidence}{_agreeing(answers.gains, row, answers)})."
    )


def _figures(row: Row) -> str:
    """Difference, interval, pairs and p of a comparison that decides nothing, and why it cannot where pairs are few."""
    decimals = point_decimals(row["difference"])
    few = row["n"] < FEWEST_FOR_A_FINDING
    alone = row["low"] > 0 or row["high"] < 0
    why = (
        f"; fewer than {FEWEST_FOR_A_FINDING} pairs decide nothing"
        if few
        else "; not clear of 0 once corrected"
        if alone
        else ""
    )
    return f"{points(row['difference'], decimals)} points ({_evidence(row, decimals, '')}{why})"


def _evidence(row: Row, decimals: int, title: str) -> str:
    spread = not math.isnan(row["low"])
    interval = f"{title}{points(row['low'], decimals)} to {points(row['high'], decimals)}" if spread else "no interval"
    pairs = f"{row['n']} matched pair{'' if row['n'] == 1 else 's'}"
    p = probability(row["p_corrected"])
    corrected = f", p {p if p.startswith('<') else f'= {p}'} after correction" if p else ""
    alike = ", the same in every pair" if not spread and row["n"] > 2 else ""
    return f"{interval}, {pairs}{alike}{corrected}"


def _agreeing(table: pd.DataFrame, row: Row, answers: Answers) -> str:
    """On how many tasks the difference has the sign of the finding; silent for one task."""
    tasks = list(dict.fromkeys(answers.runs["task"]))
    if len(tasks) == 1:
        return ""
    if "cell" in row:
        own = table[(table["cell"] == row["cell"]) & table["task"].isin(tasks)]
        differences = own["difference"]
    else:
        pair = [row["first"], row["second"]]
        own = table[(table["axis"] == row["axis"]) & table["first"].isin(pair) & table["second"].isin(pair)]
        own = own[own["task"].isin(tasks)]
        differences = own["difference"].where(own["first"] == row["first"], -own["difference"])
    agreeing = int((differences * math.copysign(1, row["difference"]) > 0).sum())
    every = f"each of the {len(tasks)} tasks" if agreeing == len(tasks) else f"{agreeing} of {len(differences)} tasks"
    return f"; so on {every}"


def _level(row: Row, side: str) -> str:
    beside = row[f"{side}_with"]
    return f"{row['axis']}={row[side]}" + (f" (with {beside})" if beside else "")


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
