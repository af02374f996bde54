"""Answers by their words: what is right, and what a wrong one is worth."""

from __future__ import annotations

import pytest

from kdbench.data.choices import exact_match, word_f1


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("the U.S. Congress", ["us congress"], 1.0, 1.0),  # case, articles and punctuation do not count
        ("Barack Obama", ["Obama", "Barack H. Obama"], 0.0, 0.8),  # the nearest of several
        ("new new york", ["new york"], 0.0, 0.8),  # a word counts as often as both have it
        ("Paris", ["London"], 0.0, 0.0),
        ("Paris", [], 0.0, 0.0),
    ],
)
def test_an_answer_beside_the_right_ones(answer: str, right: list[str], exact: float, f1: float) -> None:
    assert exact_match(answer, right) == exact and word_f1(answer, right) == pytest.approx(f1)
