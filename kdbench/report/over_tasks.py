"""Each setting's scores on all tasks in one row, and their average, as GLUE and SuperGLUE are told."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kdbench.metric import LOWER_IS_BETTER
from kdbench.report.block import told_by_task
from kdbench.report.column import Column, numbers, told, words
from kdbench.report.control import is_control
from kdbench.report.number import percent, percent_decimals

TITLE = "Over all tasks"
NOTE = (
    "Every task counts once, with its score; average: their plain mean; ±: its standard deviation (with n - 1) over "
    "the n seeds that have run on every task. A setting without such a seed is left out."
)
SCORE = "score/"
"""What the column of a task's score begins with."""
NOT_SETTINGS = ("role", "n", "average_mean", "average_sd")


def over_tasks(runs: pd.DataFrame, teachers: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """One row a setting with a score on every task, the best first, the teachers on top; empty for a single task.

    Args:
        runs: one row a run: `task`, `score_name`, `score`, `seed`, and the axes.
        teachers: the same of teachers, without a seed.
        axes: the axis columns without the seed. Those that a task determines (`data`, and what moves with it) are
            no part of a setting.

    Returns:
        `role`, the axes of a setting, `n`, the mean `score/<task>` of each task, `average_mean` and `average_sd`.
    """
    tasks = list(dict.fromkeys(runs["task"]))
    lower = runs["score_name"].str.split("/").str[-1].isin(LOWER_IS_BETTER)
    if len(tasks) < 2 or bool(lower.any()):
        return pd.DataFrame()
    settings = [name for name in axes if not told_by_task(runs, name) or runs[name].nunique() == 1]
    students = runs.assign(role=is_control(runs).map({True: "control", False: "student"}))
    found = _averages(students, settings, tasks)
    if not teachers.empty:
        own = teachers.assign(role="teacher", seed=0)
        found = pd.concat([_averages(own, settings, tasks).assign(average_sd=float("nan")), found])
    order = found.assign(first=found["role"] == "teacher")
    order = order.sort_values(["first", "average_mean"], ascending=False, kind="stable")
    return order.drop(columns="first").reset_index(drop=True)


def _averages(rows: pd.DataFrame, settings: list[str], tasks: list[str]) -> pd.DataFrame:
    keys = ["role", *settings]
    scores = rows.pivot_table(index=[*keys, "seed"], columns="task", values="score", aggfunc="mean", sort=False)
    scores = scores.reindex(columns=tasks).dropna()
    whole = scores.rename(columns=lambda task: f"{SCORE}{task}").assign(average=scores.mean(axis=1))
    groups = whole.groupby(level=list(range(len(keys))), sort=False)
    average = groups["average"]
    found = groups.mean().drop(columns="average")
    found.insert(0, "n", groups.size())
    return found.assign(average_mean=average.mean(), average_sd=average.std(ddof=1)).reset_index()


def printed_over_tasks(averages: pd.DataFrame) -> list[Column]:
    """The columns as printed; none where there is no row."""
    if averages.empty:
        return []
    settings = [name for name in averages if name not in NOT_SETTINGS and not str(name).startswith(SCORE)]
    students = averages[averages["role"] != "teacher"]
    columns = [words("model", averages["role"])]
    columns += [words(str(name), averages[name]) for name in settings if students[name].nunique() > 1]
    columns.append(Column("n", tuple(map(str, averages["n"])), tuple(map(float, averages["n"]))))
    scores = [str(name) for name in averages if str(name).startswith(SCORE)]
    columns += [numbers(name.removeprefix(SCORE), averages[name], percent) for name in scores]
    decimals = percent_decimals(averages["average_sd"])
    for title, name in (("average (%)", "average_mean"), ("±", "average_sd")):
        columns.append(numbers(title, averages[name], lambda share: percent(share, decimals)))
    return told(columns)
