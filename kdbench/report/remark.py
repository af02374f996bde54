"""What a reader must know beside the findings: what could not be compared, what matters, and how claims are made."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pandas as pd

from kdbench.report.answer import Answers
from kdbench.report.comparison import SIGNIFICANCE
from kdbench.report.importance import REST
from kdbench.report.number import millions, percent, rough
from kdbench.report.pareto import LATENCY, PARAMETERS

NO_CONTROL = "No run has a matched control (the same run with method=label), so nothing is said of a gain over it."
BUDGETS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    (PARAMETERS, "M parameters", millions),
    (LATENCY, "ms a row", rough),
)


def remarks(answers: Answers, tests: int) -> list[str]:
    """The remarks, in the order in which they matter.

    Args:
        answers: of the study.
        tests: how many tests over all tasks were corrected together.
    """
    found = [*_controls(answers), *_together(answers), *_never_met(answers)]
    found += [*_importance(answers.importance), *_budgets(answers.budgets), *_tasks_left_out(answers)]
    if not tests:
        return [*found, "Nothing could be paired: a comparison needs two levels of an axis, or a control, at one seed."]
    return [
        *found,
        "A difference is a mean over matched pairs (the same task, seed and other axes) in points of score, with its "
        f"95 % interval and the p of a paired t-test after Holm's correction for the {tests} "
        f"test{'' if tests == 1 else 's'} over all tasks. A finding has p at most {SIGNIFICANCE} "
        f"after correction, and an exact sign-flip test alone agrees.",
    ]


def _controls(answers: Answers) -> list[str]:
    lacking = int(answers.runs["control_score"].isna().sum())
    if not answers.has_controls:
        return [NO_CONTROL]
    return [f"{lacking} of {len(answers.runs)} distilled runs have no matched control."] if lacking else []


def _together(answers: Answers) -> list[str]:
    return [
        f"{', '.join([factor.axis, *factor.followers[:-1]])} and {factor.followers[-1]} always change together: what "
        "is said of one is said of all."
        for factor in answers.factors
        if factor.followers
    ]


def _never_met(answers: Answers) -> list[str]:
    compared = answers.comparisons[answers.comparisons["task"] == answers.pooled]
    sentences = []
    for factor in answers.factors:
        own = compared[compared["axis"] == factor.axis]
        met = {frozenset(pair) for pair in zip(own["first"], own["second"], strict=True)}
        apart = [pair for pair in combinations(factor.levels, 2) if frozenset(pair) not in met]
        if apart:
            example = f"{apart[0][0]} and {apart[0][1]}" + (f" and {len(apart) - 1} more pairs" if apart[1:] else "")
            sentences.append(f"Of {factor.axis}, {example} never meet with all else equal, and are not compared.")
    return sentences


def _importance(table: pd.DataFrame) -> list[str]:
    single = table[~table["source"].str.contains(" x ", regex=False)]
    parts = [
        f"{source} {percent(share, 0)} %" + (f" ({percent(low, 0)} to {percent(high, 0)})" if low == low else "")
        for source, share, low, high in single[["source", "share", "low", "high"]].itertuples(index=False, name=None)
        if source != REST
    ]
    rest = single.loc[single["source"] == REST, "share"]
    if not parts or rest.empty:
        return []
    return [
        f"Of the variance of the score within tasks, single axes explain: {', '.join(parts)}; "
        f"{percent(float(rest.iloc[0]), 0)} % is left to their interactions and to seeds."
    ]


def _budgets(table: pd.DataFrame) -> list[str]:
    sentences = []
    for cost, unit, text in BUDGETS:
        own = table[table["cost"] == cost]
        if len(own) > 1:
            best = [
                f"{text(budget)} {unit}: {cell} ({percent(score)} %)"
                for budget, cell, score in own[["budget", "cell", "score"]].itertuples(index=False, name=None)
            ]
            sentences.append(f"Highest mean score within {'; within '.join(best)}.")
    return sentences


def _tasks_left_out(answers: Answers) -> list[str]:
    cells = answers.gains.loc[answers.gains["task"] == answers.pooled, ["cell", "n"]]
    uneven = len(cells) > 0 and cells["n"].nunique() > 1
    return ["Not every cell has as many pairs as the others: some runs are missing."] if uneven else []
