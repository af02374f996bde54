"""The gain of every distilled cell over its matched control, paired over tasks and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from kdbench.report.block import UNIT, scopes
from kdbench.report.cell import cell_labels
from kdbench.report.comparison import paired_test
from kdbench.report.control import SCORES

EVERY_CELL = "all cells together"


def gains(runs: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Score minus the control's, of every cell over all tasks and within each, best first; then of all cells together.

    A pair is a task and a seed: the cell's run and the control of the same student, initialization, data, steps and
    seed. For all cells together the pair's gain is the mean over the cells, since they share their controls.

    Args:
        runs: distilled runs with `control_score`; those without a control are left out.
        names: the axes that name a cell.

    Columns: `task` (or `all tasks`), `cell`, the mean `score`, `control` and `teacher`, then as `paired_test` gives
    them for the gain (`difference`).
    """
    paired = runs[runs["control_score"].notna()]
    paired = paired.assign(cell=cell_labels(paired, names))
    columns = list(SCORES)
    pairs = paired.groupby(["cell", *UNIT], dropna=False, sort=False)[columns].mean().reset_index()
    together = paired.groupby(UNIT, dropna=False, sort=False)[columns].mean().reset_index()
    rows: list[dict[str, Any]] = []
    for task, own in scopes(pairs).items():
        found = [_row(task, str(cell), part) for cell, part in pairs[own].groupby("cell", sort=False)]
        rows += sorted(found, key=lambda row: -row["difference"])
        if len(found) > 1:
            rows.append(_row(task, EVERY_CELL, together[scopes(together)[task]]))
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    "task", "cell", "score", "control", "teacher", "n", "difference", "low", "high", "p", "p_permutation"
]  # fmt: skip


def _row(task: str, cell: str, pairs: pd.DataFrame) -> dict[str, Any]:
    score, control, teacher = pairs[list(SCORES)].mean()
    row = {"task": task, "cell": cell, "score": score, "control": control, "teacher": teacher}
    return row | paired_test((pairs["score"] - pairs["control_score"]).to_numpy(dtype=float))
