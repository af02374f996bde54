"""Paired comparisons of the levels of every axis, and what makes one of them a finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from kdbench.report.block import ALL_TASKS, Matched, scopes
from kdbench.report.interval import FEWEST, GENERATOR_SEED, Values, mean_interval

SIGNIFICANCE = 0.05
ALL_SIGNS = 13  # 2**13 sign patterns are enumerated; above, 9999 of them are drawn

Row = dict[str, Any]


def comparisons(runs: pd.DataFrame, met: Sequence[Matched]) -> pd.DataFrame:
    """Every two levels that meet, over all tasks and within each, the better level first.

    Columns: `task` (or `all tasks`), `axis`, `first`, `second`, their mean scores over the blocks, the `control` and
    the `teacher` beside them, the columns of `paired_test`, and as text the axes that move along (`first_with`,
    `second_with`) and those `averaged_over`.
    """
    rows = [
        _row(task, one, pairs)
        for task in scopes(runs)
        for one in met
        if len(pairs := one.pairs if task == ALL_TASKS else one.pairs[one.pairs["task"] == task])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def paired_test(differences: Values) -> Row:
    """What paired differences say: `n`, their mean, its 95 % interval, and two p-values, two-sided.

    `p` is the paired t-test's: with 3 to 20 pairs it is the test that has power, and its reach is that of the interval.
    It takes the mean difference for normal. `p_permutation` does not: where the two sides are the same in law, every
    pattern of signs of the differences is equally likely, and the share of patterns at least as extreme is an exact p,
    whatever the distribution; but n pairs cannot push it below 2 / 2**n. A finding needs both (see `is_finding`). Where
    all differences are equal (two models stuck at the majority class), the t-test has nothing to divide by and
    the exact p takes its place.
    """
    n = len(differences)
    low, high = mean_interval(differences)
    row: Row = {"n": n, "difference": float(differences.mean()) if n else math.nan, "low": low, "high": high}
    if n < FEWEST:
        return row | {"p": math.nan, "p_permutation": math.nan}
    exact = sign_flip_p(differences)
    return row | {"p": exact if math.isnan(low) else float(stats.ttest_1samp(differences, 0).pvalue)} | {
        "p_permutation": exact
    }  # fmt: skip


def sign_flip_p(differences: Values) -> float:
    """Two-sided p of the mean over all patterns of signs; over 9999 drawn ones above `ALL_SIGNS` pairs."""
    if not np.any(differences):
        return 1.0
    result = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if len(differences) <= ALL_SIGNS else 9999,
        rng=np.random.default_rng(GENERATOR_SEED),
    )
    return float(result.pvalue)


def holm(p: Values) -> Values:
    """Holm 1979's step-down correction: the chance of even one false finding stays below the level. NaN is no test."""
    corrected = np.full(len(p), math.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return corrected


def false_discovery(p: Values) -> Values:
    """Benjamini and Hochberg 1995's correction: the expected share of false findings among the findings."""
    corrected = np.full(len(p), math.nan)
    known = np.isfinite(p)
    if known.any():
        corrected[known] = stats.false_discovery_control(p[known], method="bh")
    return corrected


def corrected(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The tables with `p_corrected` (Holm), `false_discovery` (Benjamini-Hochberg) and `finding`.

    All tests of one `task` are one family, over all the tables: a reader of the report sees them all.
    """
    joined = pd.concat([table[["task", "p", "p_permutation"]] for table in tables], keys=range(len(tables)))
    joined = joined.astype({"p": float, "p_permutation": float})
    by_task = joined.groupby("task", sort=False)["p"]
    joined["p_corrected"] = by_task.transform(lambda p: holm(p.to_numpy()))
    joined["false_discovery"] = by_task.transform(lambda p: false_discovery(p.to_numpy()))
    joined["finding"] = is_finding(joined)
    added = joined[["p_corrected", "false_discovery", "finding"]]
    return [
        table.join(added.loc[place]) if len(table) else table.reindex(columns=[*table, *added])
        for place, table in enumerate(tables)
    ]


def is_finding(tests: pd.DataFrame) -> pd.Series:
    """Holm's p at most 0.05 and the exact p, alone, at most 0.05: at least 6 pairs, nearly all of one sign."""
    return (tests["p_corrected"] <= SIGNIFICANCE) & (tests["p_permutation"] <= SIGNIFICANCE)


COLUMNS = [
    "task", "axis", "first", "second", "first_score", "second_score", "control", "teacher",
    "n", "difference", "low", "high", "p", "p_permutation", "first_with", "second_with", "averaged_over",
]  # fmt: skip


def _row(task: str, found: Matched, pairs: pd.DataFrame) -> Row:
    first, second, moving = found.first, found.second, found.moving
    if pairs["difference"].mean() < 0:
        first, second = second, first
        pairs = pairs.rename(columns={"first": "second", "second": "first"}).assign(difference=-pairs["difference"])
        moving = tuple((name, there, here) for name, here, there in moving)
    means = pairs[["first", "second", "control", "teacher"]].mean()
    row: Row = {"task": task, "axis": found.axis, "first": first, "second": second}
    row |= {"first_score": means["first"], "second_score": means["second"]}
    row |= {"control": means["control"], "teacher": means["teacher"]}
    row |= paired_test(pairs["difference"].to_numpy(dtype=float))
    row["first_with"] = ", ".join(f"{name}={here}" for name, here, _ in moving)
    row["second_with"] = ", ".join(f"{name}={there}" for name, _, there in moving)
    return row | {"averaged_over": ", ".join(found.averaged)}
