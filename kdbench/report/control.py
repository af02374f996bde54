"""The matched control of a distilled run: the same student, initialization, data, steps and seed on labels alone."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

METHOD, CONTROL = "method", "label"
TERM_AXES = ("knowledge", "matching", "projection", "objective", "term")
SCORES = ("score", "control_score", "teacher_score")


def read_by_control(axis: str) -> bool:
    """Whether a run on gold labels reads an axis: not what describes a term, unless it is the term `label` itself."""
    parts = axis.replace("/", ".").replace("@", ".").split(".")
    if "terms" in parts[:-1]:
        return parts[parts.index("terms") + 1] == CONTROL
    return parts[0] not in TERM_AXES


def is_control(runs: pd.DataFrame) -> pd.Series:
    """Which runs are controls: `method=label`. In a table of such runs alone none is, for they control nothing."""
    if METHOD not in runs:
        return pd.Series(False, index=runs.index)
    found = runs[METHOD] == CONTROL
    return found if not found.all() else pd.Series(False, index=runs.index)


def with_controls(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """The distilled runs that have a score, each with its control's in the column `control_score` (NaN without one).

    Args:
        runs: one row a run; `task`, `seed`, `score`, and the axes.
        axes: the axis columns without the seed; blank where a run does not read an axis.

    A control agrees with its run in task, seed and in every axis that controls read; where the table holds several
    such rows (one run under two names), their mean counts once.
    """
    scored = runs[runs["score"].notna()]
    marked = is_control(runs).loc[scored.index]
    controls, distilled = scored[marked], scored[~marked]
    keys = ["task", "seed", *(name for name in axes if name != METHOD and (controls[name] != "").any())]
    found = controls.groupby(keys, dropna=False, sort=False)["score"].mean().rename("control_score")
    if found.empty:
        return distilled.assign(control_score=float("nan"))
    return distilled.merge(found.reset_index(), on=keys, how="left").set_axis(distilled.index)
