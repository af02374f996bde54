"""No number is printed with more digits than it has."""

from __future__ import annotations

import math

import pytest

from kdbench.report.number import millions, percent, percent_decimals, point_decimals, points, probability, rough


@pytest.mark.parametrize(
    ("deviations", "decimals"),
    [([], 1), ([math.nan], 1), ([0.01, math.nan], 1), ([0.0004, 0.0009], 2), ([0.0004, 0.001], 1)],
)
def test_percent_decimals(deviations: list[float], decimals: int) -> None:
    assert percent_decimals(deviations) == decimals


def test_percent() -> None:
    assert percent(0.61234) == "61.2"
    assert percent(0.61234, 2) == "61.23"
    assert percent(-0.05) == "-5.0"
    assert percent(math.nan) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.13, "5.1"), (123.4, "123"), (0.424, "0.42"), (9.96, "10"), (0.0, "0"), (1.0, "1.0"), (math.nan, "")],
)
def test_rough(value: float, text: str) -> None:
    assert rough(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(109_482_240, "109"), (17_390_000, "17.4"), (455_000, "0.455"), (9_996_000, "10.0")]
)
def test_millions(count: float, text: str) -> None:
    assert millions(count) == text


@pytest.mark.parametrize(
    ("share", "decimals", "text"), [(0.0124, 1, "1.2"), (-0.0004, 1, "0.0"), (-0.0004, 2, "-0.04"), (math.nan, 1, "")]
)
def test_points(share: float, decimals: int, text: str) -> None:
    assert points(share, decimals) == text


@pytest.mark.parametrize(("difference", "decimals"), [(0.012, 1), (0.0005, 1), (-0.0004, 2), (0.0, 1)])
def test_a_difference_that_exists_is_not_rounded_to_nothing(difference: float, decimals: int) -> None:
    assert point_decimals(difference) == decimals


@pytest.mark.parametrize(("p", "text"), [(0.0412, "0.041"), (0.0001, "< 0.001"), (1.0, "1.000"), (math.nan, "")])
def test_probability(p: float, text: str) -> None:
    assert probability(p) == text
