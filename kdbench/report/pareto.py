"""What a budget buys: the Pareto front of score against a cost, and the best cell within each budget."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdbench.report.interval import Values

PARAMETERS, LATENCY = "parameters_total", "latency_ms_batch_1"
BUDGETS = 4


def non_dominated(costs: Values, scores: Values) -> np.ndarray:
    """Which points nothing dominates: no other is at most as dear and at least as good, and better in one of the two.

    An unknown cost (NaN) is on no front and dominates nothing.

    Args:
        costs, scores: (n,); less cost and more score are better.

    Returns:
        (n,) booleans.
    """
    weakly = (costs[None] <= costs[:, None]) & (scores[None] >= scores[:, None])
    strictly = (costs[None] < costs[:, None]) | (scores[None] > scores[:, None])
    return ~(weakly & strictly).any(axis=1) & np.isfinite(costs) & np.isfinite(scores)


def budgets(costs: Values, most: int = BUDGETS) -> list[float]:
    """A few budgets among the costs that occur: all where they are few, else evenly spaced ranks, the dearest too."""
    distinct = np.unique(costs[np.isfinite(costs)])
    if len(distinct) > most:
        distinct = distinct[np.linspace(0, len(distinct) - 1, most + 1).round().astype(int)[1:]]
    return [float(cost) for cost in distinct]


def best_within_budgets(table: pd.DataFrame) -> pd.DataFrame:
    """The best cell of `cells` within each budget: `cost` (its column), `budget`, then the cell's own columns."""
    rows = []
    for cost in (PARAMETERS, LATENCY):
        for budget in budgets(table[cost].to_numpy(float)):
            within = table[table[cost] <= budget]
            rows.append({"cost": cost, "budget": budget} | within.nlargest(1, "score").iloc[0].to_dict())
    return pd.DataFrame(rows, columns=["cost", "budget", *table.columns])
