"""Every matching over every pair of depths: refused in a sentence, or pairs that are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from kdbench.config import instantiate
from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching

DEPTHS = range(1, 13)


def test_pairs_are_layers_that_both_models_have(matching: str, option: Callable[[str, str], Any]) -> None:
    made: Matching = instantiate(option("matching", matching))
    accepted = 0
    for student in DEPTHS:
        for teacher in DEPTHS:
            try:
                pairs = made.pairs(student, teacher)
            except ImpossibleError as error:
                assert re.search(r": \w+", str(error)) and "\n" not in str(error)
                continue
            accepted += 1
            assert pairs and len(set(pairs)) == len(pairs)
            assert all(0 <= ours <= student and 0 <= theirs <= teacher for ours, theirs in pairs)
            assert [ours for ours, _ in pairs] == sorted(ours for ours, _ in pairs)
            assert made.pairs(student, teacher) == pairs, "a pairing is a function of the depths"
    assert accepted


@pytest.mark.parametrize("depth", DEPTHS)
def test_models_of_one_depth_can_always_be_matched(
    matching: str, depth: int, option: Callable[[str, str], Any]
) -> None:
    if matching == "explicit":  # the user's own pairs, of layers that a shallow model lacks
        depth = max(depth, 4)
    assert instantiate(option("matching", matching)).pairs(depth, depth)
