"""Cells: the runs that differ in task and seed alone. What names them, and what they score and cost over all tasks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kdbench.report.block import told_by_task
from kdbench.report.control import is_control
from kdbench.report.pareto import LATENCY, PARAMETERS, non_dominated

ONLY = "the only cell"
SHAPE = ["parameters_total", "parameters_encoder", "flops"]
COLUMNS = ["cell", "role", "n", "score", "control", "teacher", PARAMETERS, LATENCY]


def naming_axes(runs: pd.DataFrame, axes: Sequence[str], followers: Sequence[str]) -> list[str]:
    """The axes that tell cells apart: not those that the task decides, nor those that always move with another.

    An axis with one level, which some runs read and others do not, is needed only where nothing else tells them apart.
    """
    free = [name for name in axes if not told_by_task(runs, name) and name not in followers]
    chosen = [name for name in free if runs.loc[runs[name] != "", name].nunique() > 1]
    for name in free:
        if name not in chosen and (runs.groupby([*chosen, "task"])[name].nunique() > 1).any():
            chosen.append(name)
    return chosen


def cell_labels(runs: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Each run's cell in words: its levels of the axes that it reads, `student/size=l2_h192, knowledge=hidden`."""
    texts = [
        ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True) if value != "") or ONLY
        for values in runs[list(names)].itertuples(index=False, name=None)
    ]
    return pd.Series(texts, index=runs.index, dtype=object)


def cells(runs: pd.DataFrame, with_control: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Every cell that was scored on all tasks, controls too: the mean over tasks of its mean over seeds, and its cost.

    The latency is the mean over all cells of one shape (parameters and FLOPs): they are the same network, and what
    differs between them is the noise of the clock. Columns: `cell`, `role`, its number of runs `n`, `score`, `control`,
    `teacher`, parameters and latency, and for both costs whether the cell is on the front (`front_...`).
    """
    scored = runs[runs["score"].notna()]
    scored = scored.assign(
        cell=cell_labels(scored, names),
        role=is_control(runs).loc[scored.index].map({True: "control", False: "student"}),
        control_score=with_control["control_score"].reindex(scored.index),
    )
    scored[LATENCY] = scored.groupby(SHAPE, dropna=False)[LATENCY].transform("mean")
    keys = ["cell", "role"]
    by_task = scored.groupby([*keys, "task"], sort=False)
    means = by_task[["score", "control_score", "teacher_score", PARAMETERS, LATENCY]].mean().assign(n=by_task.size())
    over = means.reset_index("task").groupby(keys, sort=False)
    found = over.mean(numeric_only=True).assign(n=over["n"].sum(), tasks=over["task"].nunique())
    whole = found[found["tasks"] == scored["task"].nunique()].reset_index()
    table = whole.rename(columns={"control_score": "control", "teacher_score": "teacher"})[COLUMNS]
    for cost in (PARAMETERS, LATENCY):
        table[f"front_{cost}"] = non_dominated(table[cost].to_numpy(float), table["score"].to_numpy(float))
    return table.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
