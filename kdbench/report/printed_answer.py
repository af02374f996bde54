"""The tables of the answers as printed: titled columns, scores in percent, differences in points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from kdbench.report.answer import Answers
from kdbench.report.column import Column, intervals, numbers, told, words
from kdbench.report.number import millions, percent, points, probability, rough
from kdbench.report.pareto import LATENCY, PARAMETERS
from kdbench.report.remark import NO_CONTROL

BESIDE = "control: mean of the matched controls of the row's runs; teacher: of their teachers."


@dataclass(frozen=True)
class Section:
    """A table under a title, or the sentence why there is none. `each_task` is the same for every task by itself."""

    name: str
    title: str
    columns: list[Column]
    note: str
    each_task: list[Column]


def sections(answers: Answers) -> list[Section]:
    """The tables in the order of the report; one that has no rows has no columns, and its note says why."""
    return [_gains(answers), _comparisons(answers), _effects(answers), _importance(answers), _best(answers)]


def _gains(answers: Answers) -> Section:
    if answers.gains.empty:
        return Section("gains", "Gain over the control", [], NO_CONTROL, [])
    note = (
        "The control is the same run on gold labels alone (method=label): same student, initialization, data, steps "
        "and seed. gain: mean over pairs of one task and seed, in points of score, with its 95 % interval; p of a "
        f"paired t-test, then after correction. {BESIDE}"
    )
    return _both("gains", "Gain over the control", answers, answers.gains, note, _gain_columns)


def _comparisons(answers: Answers) -> Section:
    title = "Comparisons"
    if answers.comparisons.empty:
        note = "No axis has two levels that meet with all else equal, so there is nothing to compare."
        return Section("comparisons", title, [], note, [])
    note = (
        "Each two levels of an axis, paired within task, seed and the other axes; the better one first. difference: in "
        "points of score, with its 95 % interval; p of a paired t-test, then after correction (Holm's, over all tests "
        f"of this table and of the gains). {BESIDE}"
    )
    return _both("comparisons", title, answers, answers.comparisons, note, _comparison_columns)


def _effects(answers: Answers) -> Section:
    title = "Main effects"
    if answers.effects.empty:
        return Section("effects", title, [], "No axis has two levels that meet with all else equal.", [])
    note = (
        "effect: how much better a level is than the other levels of its axis within matched blocks, in points of "
        "score; 95 % intervals from a bootstrap that draws whole units (a task and a seed) with all their blocks. The "
        f"score beside it is the plain mean of the level's runs. {BESIDE}"
    )
    return _both("effects", title, answers, answers.effects, note, _effect_columns)


def _importance(answers: Answers) -> Section:
    table, title = answers.importance, "Importance of the axes"
    if table.empty:
        return Section("importance", title, [], "No axis varies within a task, so none has an importance.", [])
    columns = [
        words("axis", table["source"]),
        numbers("share (%)", table["share"], percent),
        intervals("95 % interval", table["low"], table["high"], percent),
        numbers("degrees", table["degrees"], lambda value: f"{value:.0f}"),
    ]
    note = (
        "share: of the variance of the score within tasks, what an additive model loses without the axis, less what "
        "chance alone would give; a x b: what their combinations add to it. Teacher and controls are not in it."
    )
    return Section("importance", title, told(columns), note, [])


def _best(answers: Answers) -> Section:
    table, title = answers.budgets, "Best cell within a budget"
    if table.empty:
        note = "No cell was scored on every task at a known cost, so none is the best of a budget."
        return Section("pareto", title, [], note, [])
    sizes = table["cost"] == PARAMETERS
    limits = [
        f"{millions(budget)} M parameters" if size else f"{rough(budget)} ms a row"
        for size, budget in zip(sizes, table["budget"], strict=True)
    ]
    columns = [
        words("at most", limits),
        words("cell", table["cell"]),
        words("model", table["role"]),
        *_scores(table),
        numbers("parameters (M)", table[PARAMETERS], millions),
        numbers("latency 1 (ms)", table[LATENCY], rough),
    ]
    note = (
        "The highest mean score (over tasks) among the cells within a budget: the best of several by their means "
        "alone, so that chance favours it; the comparisons say what is shown."
    )
    return Section("pareto", title, told(columns), note, [])


def _both(
    name: str,
    title: str,
    answers: Answers,
    table: pd.DataFrame,
    note: str,
    columns: Callable[[pd.DataFrame], list[Column]],
) -> Section:
    pooled = table["task"] == answers.pooled
    each = table[~pooled]
    return Section(
        name,
        title,
        told(columns(table[pooled])),
        note,
        told([words("task", each["task"]), *columns(each)]) if len(each) else [],
    )


def _gain_columns(table: pd.DataFrame) -> list[Column]:
    return [words("cell", table["cell"]), *_scores(table), *_test(table, "gain (points)")]


def _comparison_columns(table: pd.DataFrame) -> list[Column]:
    return [
        words("axis", table["axis"]),
        words("better", table["first"]),
        words("than", table["second"]),
        numbers("better (%)", table["first_score"], percent),
        numbers("than (%)", table["second_score"], percent),
        *_scores(table)[1:],
        *_test(table, "difference (points)"),
        words("averaged over", table["averaged_over"]),
    ]


def _effect_columns(table: pd.DataFrame) -> list[Column]:
    return [
        words("axis", table["axis"]),
        words("level", table["level"]),
        _count("runs", table["runs"]),
        *_scores(table),
        numbers("effect (points)", table["effect"], points),
        intervals("95 % interval", table["low"], table["high"], points),
        _count("pairs", table["n"]),
    ]


def _test(table: pd.DataFrame, title: str) -> list[Column]:
    findings = ["yes" if finding else "" for finding in table["finding"]]
    return [
        numbers(title, table["difference"], points),
        intervals("95 % interval", table["low"], table["high"], points),
        _count("pairs", table["n"]),
        numbers("p", table["p"], probability),
        numbers("corrected p", table["p_corrected"], probability),
        words("finding", findings),
    ]


def _scores(table: pd.DataFrame) -> list[Column]:
    score = table["score"] if "score" in table else table["first_score"]
    return [
        numbers("score (%)", score, percent),
        numbers("control (%)", table["control"], percent),
        numbers("teacher (%)", table["teacher"], percent),
    ]


def _count(title: str, values: pd.Series) -> Column:
    return numbers(title, values, lambda value: f"{value:.0f}")
