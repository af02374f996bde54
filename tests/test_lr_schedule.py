"""The learning rate over a training, by its corner values."""

from __future__ import annotations

import pytest

from kdbench.lr_schedule import constant, cosine, linear


def test_warm_up_rises_evenly_and_never_starts_at_zero() -> None:
    factors = [constant(step, 100, 0.1) for step in range(12)]
    assert factors[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert factors[9:] == pytest.approx([10 / 11, 1.0, 1.0])


def test_linear_falls_to_its_last_step() -> None:
    assert linear(10, 110, 10 / 110) == 1.0
    assert linear(60, 110, 10 / 110) == pytest.approx(0.5)
    assert linear(109, 110, 10 / 110) == pytest.approx(0.01)


def test_cosine_passes_a_half_in_the_middle() -> None:
    assert cosine(0, 100, 0.0) == 1.0
    assert cosine(50, 100, 0.0) == pytest.approx(0.5)
    assert cosine(100, 100, 0.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("schedule", [constant, linear, cosine])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_trainings_have_factors_between_zero_and_one(schedule: type, steps: int) -> None:
    assert all(0.0 < schedule(step, steps) <= 1.0 for step in range(steps))
