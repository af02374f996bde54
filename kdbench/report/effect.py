"""The main effect of every level of every axis: how much better than the axis's other levels, all else equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdbench.report.block import UNIT, Factor, Matched, scopes
from kdbench.report.control import SCORES
from kdbench.report.interval import Values, bootstrap_interval, resampled_counts

COLUMNS = ["task", "axis", "level", "runs", "score", "control", "teacher", "effect", "low", "high", "n", "units"]


def effects(runs: pd.DataFrame, found: Sequence[Factor], met: Sequence[Matched]) -> pd.DataFrame:
    """The effect of every level of every factor, over all tasks and within each.

    The effect of a level is the mean, over the other levels of its axis, of the difference in score within matched
    blocks (task, seed and the other axes: see `matched`). So a level pays neither for hard tasks nor for a weak
    student, nor for cells that others have and it lacks. Of two levels, one's effect is minus the other's.

    What is resampled for the interval are the units (task, seed), each with all its blocks. A run is no unit: one run
    stands in a difference with every other level, and the runs of a unit share data, teacher and random draws; to
    resample runs would count the same luck many times over. The interval therefore speaks of other seeds, and of other
    tasks as far as these are a sample of them, with the grid of the other axes as it is.

    Columns: `task` (or `all tasks`), `axis`, `level`, its number of `runs`, their mean `score` and that of their
    `control` and `teacher`; `effect` with its 95 % interval `low` to `high`, from `n` matched pairs in `units` units.
    """
    rows: list[dict[str, Any]] = []
    for task, own in scopes(runs).items():
        for factor in found:
            pairs = [one for one in met if one.axis == factor.axis]
            rows += _factor_rows(task, runs[own], factor, pairs)
    return pd.DataFrame(rows, columns=COLUMNS)


def level_effects(sums: Values, counts: Values) -> Values:
    """Mean over the other levels of the mean difference to them; NaN for a level that met none.

    Args:
        sums: (..., levels, levels) sums of differences, row minus column, over blocks.
        counts: (..., levels, levels) numbers of blocks.

    Returns:
        (..., levels).
    """
    met = counts > 0
    differences = np.divide(sums, counts, out=np.zeros_like(sums), where=met)
    others = met.sum(axis=-1)
    return np.divide(differences.sum(axis=-1), others, out=np.full(others.shape, math.nan), where=others > 0)


def _factor_rows(task: str, runs: pd.DataFrame, factor: Factor, met: Sequence[Matched]) -> list[dict[str, Any]]:
    sums, counts = _by_unit(runs, factor, met)
    units = len(sums)
    estimates = level_effects(sums.sum(axis=0), counts.sum(axis=0))
    drawn = resampled_counts(units) if units else np.zeros((0, 0))
    resampled = level_effects(np.tensordot(drawn, sums, 1), np.tensordot(drawn, counts, 1))
    rows = []
    for place, level in enumerate(factor.levels):
        own = runs[runs[factor.axis] == level]
        seen = int((counts[:, place].sum(axis=-1) > 0).sum())
        if not seen:
            continue
        low, high = bootstrap_interval(float(estimates[place]), resampled[:, place], seen)
        score, control, teacher = own[list(SCORES)].mean()
        rows.append(
            {"task": task, "axis": factor.axis, "level": level, "runs": len(own)}
            | {"score": score, "control": control, "teacher": teacher}
            | {"effect": estimates[place], "low": low, "high": high}
            | {"n": int(counts[:, place].sum()), "units": seen}
        )
    return rows


def _by_unit(runs: pd.DataFrame, factor: Factor, met: Sequence[Matched]) -> tuple[Values, Values]:
    """Sums of differences and numbers of blocks of every two levels in every unit, (units, levels, levels)."""
    names = {unit: place for place, unit in enumerate(runs.groupby(UNIT, dropna=False, sort=False).groups)}
    sums = np.zeros((len(names), len(factor.levels), len(factor.levels)))
    counts = np.zeros_like(sums)
    for pair in met:
        one, other = factor.levels.index(pair.first), factor.levels.index(pair.second)
        for task, seed, difference in pair.pairs[[*UNIT, "difference"]].itertuples(index=False, name=None):
            unit = names.get((task, seed))
            if unit is None:
                continue  # of another task
            sums[unit, one, other] += difference
            sums[unit, other, one] -= difference
            counts[unit, [one, other], [other, one]] += 1
    seen = counts.any(axis=(1, 2))
    return sums[seen], counts[seen]
