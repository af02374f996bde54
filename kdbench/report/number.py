"""How numbers are printed: never with more digits than their noise supports."""

from __future__ import annotations

import math
from collections.abc import Iterable

STEADY = 0.001  # a standard deviation of 0.1 points: below it, a second decimal of a percentage means something


def percent_decimals(deviations: Iterable[float]) -> int:
    """The decimals of a column of percentages: 2 where every deviation is known to be below 0.1 points, else 1."""
    known = [value for value in deviations if not math.isnan(value)]
    return 2 if known and max(known) < STEADY else 1


def percent(share: float, decimals: int = 1) -> str:
    """A share in percent without the sign, empty for NaN."""
    return "" if math.isnan(share) else f"{100 * share:.{decimals}f}"


def millions(count: float) -> str:
    """A count of parameters or bytes in millions, three significant digits: `110`, `17.4`, `0.455`."""
    return _significant(count / 1e6, 3)


def billions(count: float) -> str:
    """A count of operations in billions, likewise."""
    return _significant(count / 1e9, 3)


def rough(value: float) -> str:
    """A measured or derived positive number in two significant digits, whole numbers in full: `5.1`, `0.42`, `123`."""
    return _significant(value, 2)


def _significant(value: float, digits: int) -> str:
    if math.isnan(value):
        return ""
    if value == 0:
        return "0"
    # Rounding first: 9.96 in two digits is 10, which has one digit more before the point.
    rounded = float(f"{value:.{digits}g}")
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def points(share: float, decimals: int = 1) -> str:
    """A difference of two shares in points, never `-0.0`: `1.2`, `-0.9`; empty for NaN."""
    return "" if math.isnan(share) else f"{round(100 * share, decimals) + 0.0:.{decimals}f}"


def point_decimals(difference: float) -> int:
    """The decimals of a difference and its interval: 2 where one would round a difference that exists to nothing."""
    return 2 if 0 < abs(difference) < 0.0005 else 1


def probability(p: float) -> str:
    """A p-value with three decimals, or `< 0.001`; empty for NaN."""
    return "" if math.isnan(p) else "< 0.001" if p < 0.0005 else f"{p:.3f}"
