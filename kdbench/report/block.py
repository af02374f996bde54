"""Matched blocks: which axes of a table can be compared, and the pairs of scores in which two levels of one meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from kdbench.report.control import SCORES

ALL_TASKS = "all tasks"
UNIT = ["task", "seed"]  # runs of one task and seed share data, teacher and draws: one observation of the study


@dataclass(frozen=True)
class Factor:
    """An axis that can be compared, its levels in order of appearance, and the axes that always move with it."""

    axis: str
    levels: tuple[str, ...]
    followers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matched:
    """Two levels, `first` and `second`, of an axis, paired within blocks.

    `pairs` has one row a block: `task`, `seed`, the means `first` and `second` of the two levels, their `difference`,
    and the means of their `control` and `teacher`. `moving` are axes whose one value differs between the levels
    throughout, with both values; `averaged` those that one of the two levels does not read.
    """

    axis: str
    first: str
    second: str
    pairs: pd.DataFrame
    moving: tuple[tuple[str, str, str], ...]
    averaged: tuple[str, ...]


def factors(runs: pd.DataFrame, axes: Sequence[str]) -> list[Factor]:
    """The axes with two levels or more within a task. Axes that always change together are one factor.

    Blank is no level: the run does not read that axis. A factor is named after the axis that is blank least often,
    among equals after the student's, else after the first.
    """
    candidates = [name for name in axes if _varies(runs, name)]
    order = sorted(candidates, key=lambda name: (list(runs[name]).count(""), not name.startswith("student")))
    leaders: dict[str, list[str]] = {}
    for name in order:
        leader = next((other for other in leaders if _one_to_one(runs, name, other)), None)
        leaders.setdefault(name if leader is None else leader, []).extend([] if leader is None else [name])
    return [Factor(name, levels(runs, name), tuple(leaders[name])) for name in candidates if name in leaders]


def levels(runs: pd.DataFrame, axis: str) -> tuple[str, ...]:
    """The values of an axis in order of appearance, without blank."""
    return tuple(str(value) for value in dict.fromkeys(runs[axis]) if value != "")


def matched(runs: pd.DataFrame, axis: str, first: str, second: str, axes: Sequence[str]) -> Matched:
    """The blocks of task, seed and the other axes in which two levels of an axis meet.

    A block holds one pair: the mean score of its runs at either level. Two kinds of other axes cannot be matched on.
    An axis that one level never reads (a matching, for logits) is averaged over at the other level, so that a lone run
    is not counted once for every run it could face. An axis with one value throughout at either level, and not the
    same, moves along with the comparison, which then speaks of both axes at once.

    Args:
        runs: one row a run, with `task`, `seed`, the axes and the columns of `SCORES`.
        axis, first, second: the axis and its two levels.
        axes: the axis columns to match on; `axis` itself is skipped.
    """
    sides = [runs[runs[axis] == level] for level in (first, second)]
    keys, moving, averaged = list(UNIT), [], []
    for name in axes:
        here, there = (set(side[name]) for side in sides)
        if name == axis or here == there == {""}:
            continue
        if {""} in (here, there):
            averaged.append(name)
        elif len(here) == len(there) == 1 and here != there:
            moving.append((name, *here, *there))
        else:
            keys.append(name)
    means = [side.groupby(keys, dropna=False, sort=False)[list(SCORES)].mean() for side in sides]
    both = means[0].add_suffix("_first").join(means[1].add_suffix("_second"), how="inner").reset_index()
    pairs = both[UNIT].assign(
        first=both["score_first"],
        second=both["score_second"],
        difference=both["score_first"] - both["score_second"],
        control=both[["control_score_first", "control_score_second"]].mean(axis=1),
        teacher=both[["teacher_score_first", "teacher_score_second"]].mean(axis=1),
    )
    return Matched(axis, first, second, pairs, tuple(moving), tuple(averaged))


def all_matched(runs: pd.DataFrame, found: Sequence[Factor], axes: Sequence[str]) -> list[Matched]:
    """Every two levels of every factor that meet in at least one block."""
    every = (
        matched(runs, factor.axis, first, second, axes)
        for factor in found
        for first, second in combinations(factor.levels, 2)
    )
    return [one for one in every if len(one.pairs)]


def scopes(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Which rows a result is told for: `all tasks`, then each task; the task's name alone where there is but one."""
    tasks = {str(task): rows["task"] == task for task in dict.fromkeys(rows["task"])}
    return tasks if len(tasks) == 1 else {ALL_TASKS: rows["task"].notna()} | tasks


def told_by_task(runs: pd.DataFrame, axis: str) -> bool:
    """Whether the task decides the axis, as it does `data` or a learning rate chosen for each task."""
    return bool((runs.groupby("task")[axis].nunique() <= 1).all())


def _varies(runs: pd.DataFrame, axis: str) -> bool:
    return bool((runs[runs[axis] != ""].groupby("task")[axis].nunique() > 1).any())


def _one_to_one(runs: pd.DataFrame, axis: str, other: str) -> bool:
    """Whether each level of the axis stands with one level of the other, and the reverse."""
    read = runs.loc[runs[axis] != "", [axis, other]].drop_duplicates()
    return bool((read[other] != "").all() and read[axis].is_unique and read[other].is_unique)
