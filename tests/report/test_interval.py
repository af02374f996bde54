"""Intervals: Student's t in closed form, and a bootstrap that agrees with it and covers what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kdbench.report.interval import bootstrap_interval, mean_interval, resampled_counts


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.array([0.01, 0.03, 0.02, 0.05])
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((reference.low, reference.high), rel=1e-12)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.2], [0.1, 0.1, 0.1, 0.1]])
def test_too_few_values_or_no_spread_give_no_interval(values: list[float]) -> None:
    assert all(math.isnan(end) for end in mean_interval(np.array(values)))


def test_every_sample_draws_as_many_units() -> None:
    counts = resampled_counts(7)
    assert (counts.sum(axis=1) == 7).all() and (counts == resampled_counts(7)).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)


@pytest.mark.parametrize("units", [3, 6, 20])
def test_the_bootstrap_of_a_mean_is_students_but_for_resampling(units: int) -> None:
    values = np.random.default_rng(units).normal(0.5, 0.1, units)
    low, high = bootstrap_interval(float(values.mean()), resampled_counts(units) @ values / units, units)
    reference = mean_interval(values)
    assert low + high == pytest.approx(2 * values.mean())
    assert high - low == pytest.approx(reference[1] - reference[0], rel=0.06)


def test_the_bootstrap_covers() -> None:
    draws = np.random.default_rng(5).normal(0, 1, (600, 6))
    counts = resampled_counts(6)
    ends = [bootstrap_interval(float(values.mean()), counts @ values / 6, 6) for values in draws]
    covered = np.mean([low < 0 < high for low, high in ends])
    assert 0.92 < covered < 0.975  # quantiles of the same samples cover 85 %
    plain = [np.quantile(counts @ values / 6, [0.025, 0.975]) for values in draws]
    assert np.mean([low < 0 < high for low, high in plain]) < 0.9


def test_a_bootstrap_without_knowledge_gives_no_interval() -> None:
    nothing = np.full(100, math.nan)
    for estimate, resampled, units in ((0.1, np.ones(100), 2), (0.1, np.ones(100), 9), (0.1, nothing, 9)):
        assert all(math.isnan(end) for end in bootstrap_interval(estimate, resampled, units))
    half = np.where(np.arange(100) < 60, np.linspace(0, 1, 100), math.nan)
    assert math.isfinite(bootstrap_interval(0.3, half, 9)[0])
