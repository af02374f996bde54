"""Single values of the configuration: what each kind lets through, and the wording of a refusal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from kdbench.error import KdbenchError
from kdbench.value import choice, divides, number, positive, share, switch, whole

INFINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("check", "options", "good", "bad"),
    [
        (whole, {}, [1, 10**9], [0, -1, 1.0, 1.5, "1", True, None, *INFINITE]),
        (whole, {"least": 0}, [0, 1], [-1, None]),
        (whole, {"null": "none"}, [1, None], [0, "null"]),
        (number, {}, [0, -1, 1.5, 1e-9], ["1", True, None, [1], *INFINITE]),
        (number, {"null": "none"}, [0.5, None], ["null"]),
        (positive, {}, [1, 1e-30], [0, 0.0, -1, "1", True, None, *INFINITE]),
        (positive, {"null": "none"}, [1, None], [0]),
        (share, {}, [0, 0.5, 1], [-0.1, 1.1, "0", True, None, *INFINITE]),
        (share, {"below": True}, [0, 0.999], [1, 1.0]),
        (switch, {}, [True, False], ["true", 1, 0, None]),
    ],
)
def test_values(check: Callable[..., None], options: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check("a.key", value, **options)
    for value in bad:
        with pytest.raises(KdbenchError) as caught:
            check("a.key", value, **options)
        assert str(caught.value).startswith(f"a.key={value} must be ") and "\n" not in str(caught.value)


def test_a_refusal_says_what_null_would_mean() -> None:
    with pytest.raises(KdbenchError, match=r"^rows=0 must be a whole number of at least 1, or null for every row$"):
        whole("rows", 0, null="every row")


def test_a_choice_names_all_there_are() -> None:
    choice("keep", "best", ("best", "last"))
    with pytest.raises(KdbenchError, match=r"^device=tpu is unknown: choose auto, cpu or gpu$"):
        choice("device", "tpu", ("auto", "cpu", "gpu"))


def test_a_number_that_does_not_divide_is_refused_with_those_that_do() -> None:
    divides("a.key", 4, "a.whole", 12)
    with pytest.raises(KdbenchError, match=r"^a\.key=5 does not divide a\.whole=12: choose one of 1, 2, 3, 4, 6, 12$"):
        divides("a.key", 5, "a.whole", 12)
