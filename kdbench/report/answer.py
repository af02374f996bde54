"""What a study answers: every table that the report draws from its runs, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdbench.report.block import ALL_TASKS, Factor, all_matched, factors
from kdbench.report.cell import cells, naming_axes
from kdbench.report.comparison import comparisons, corrected
from kdbench.report.control import METHOD, with_controls
from kdbench.report.effect import effects
from kdbench.report.gain import gains
from kdbench.report.importance import importance
from kdbench.report.pareto import best_within_budgets


@dataclass(frozen=True)
class Answers:
    """The answers of a study; scores and differences are shares (0.01 is a point), as in the tidy table.

    `runs` are the distilled runs with a score, each with its `control_score` (all scored runs, where none is a
    control). `factors` are the axes that were compared. The frames are those of the functions of the same name;
    `comparisons` and `gains` are corrected together.
    """

    runs: pd.DataFrame
    factors: tuple[Factor, ...]
    effects: pd.DataFrame
    comparisons: pd.DataFrame
    importance: pd.DataFrame
    gains: pd.DataFrame
    cells: pd.DataFrame
    budgets: pd.DataFrame

    @property
    def has_controls(self) -> bool:
        """Whether any distilled run has its matched control."""
        return bool(self.runs["control_score"].notna().any())

    @property
    def pooled(self) -> str:
        """The name of the rows over all tasks; the task's own where there is but one."""
        tasks = list(dict.fromkeys(self.runs["task"]))
        return str(tasks[0]) if len(tasks) == 1 else ALL_TASKS


def answers(runs: pd.DataFrame, axes: Sequence[str]) -> Answers:
    """The answers of a tidy table.

    Args:
        runs: one row a run: `task`, the axes (text, blank where a run does not read one), `seed`, `score` (NaN where
            there is none), `teacher_score`, and the costs.
        axes: the axis columns without the seed.
    """
    distilled = with_controls(runs, axes)
    found = factors(distilled, axes)
    followers = [name for factor in found for name in factor.followers]
    met = all_matched(distilled, found, axes)
    compared = comparisons(distilled, met)
    # The control's method is in no distilled cell's name unless the methods differ.
    names = naming_axes(distilled, axes, followers) or [name for name in axes if name == METHOD]
    gained = gains(distilled, names)
    compared, gained = corrected([compared, gained])
    table = cells(runs, distilled, naming_axes(runs, axes, followers))
    return Answers(
        runs=distilled,
        factors=tuple(found),
        effects=effects(distilled, found, met),
        comparisons=compared,
        importance=importance(distilled, found),
        gains=gained,
        cells=table,
        budgets=best_within_budgets(table),
    )
