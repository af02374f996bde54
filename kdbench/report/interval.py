"""Confidence intervals for few observations: Student's t, and a bootstrap over whole units with its correction."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
FEWEST = 3  # with two observations Student's t is 12.7 standard errors: an interval that says nothing
RESAMPLES = 2000
GENERATOR_SEED = 20230613  # fixed, so that a report made twice is the same report

Values = NDArray[np.float64]
UNKNOWN = (math.nan, math.nan)


def mean_interval(values: Values) -> tuple[float, float]:
    """Student's t interval of a mean. NaN below `FEWEST` values, and where all are equal: no spread, no knowledge."""
    if len(values) < FEWEST or np.ptp(values) < 1e-12:
        return UNKNOWN
    return _around(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values))


def resampled_counts(units: int, resamples: int = RESAMPLES) -> Values:
    """How often each unit is drawn in each bootstrap sample of as many units, (resamples, units)."""
    generator = np.random.default_rng(GENERATOR_SEED)
    return generator.multinomial(units, np.full(units, 1 / units), size=resamples).astype(float)


def bootstrap_interval(estimate: float, resampled: Values, units: int) -> tuple[float, float]:
    """Estimate and bootstrap standard error to an interval: Student's t on units - 1 degrees of freedom.

    With a handful of units the quantiles of the bootstrap are too narrow twice over: the plug-in variance lacks the
    factor units / (units - 1), and the normal quantile that they imply lacks the tails of t. Both are put back here,
    so that the interval of a plain mean is that of `mean_interval` but for the noise of resampling.

    Args:
        estimate: of all units.
        resampled: the same statistic of each bootstrap sample; NaN where a sample could not give it.
        units: how many were resampled.

    Returns:
        low and high, NaN below `FEWEST` units, without spread, or where most samples gave nothing.
    """
    known = resampled[np.isfinite(resampled)]
    if units < FEWEST or 2 * len(known) < len(resampled) or not math.isfinite(estimate) or np.ptp(known) < 1e-12:
        return UNKNOWN
    return _around(estimate, float(known.std(ddof=1)) * math.sqrt(units / (units - 1)), units)


def _around(estimate: float, error: float, observations: int) -> tuple[float, float]:
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, observations - 1)) * error
    return estimate - reach, estimate + reach
