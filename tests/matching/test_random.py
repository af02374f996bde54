"""Drawn teacher layers: sorted, evenly drawn, held as long as asked, and the same after a resume."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
import torch

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.matching.base import Pairs
from kdbench.matching.pairing import Pairing
from kdbench.matching.random import Random
from kdbench.progress import Progress

EPOCH = 10


def paired(made: Random, student: int = 3, teacher: int = 6, seed: int = 1, embeddings: bool = False) -> Pairing:
    pairs = made.pairs(student, teacher)
    return made.pairing([(0, 0), *pairs] if embeddings else pairs, "sum", seed)


def draws(pairing: Pairing, steps: int) -> list[Pairs]:
    return [pairing.drawn(Progress(step, steps, EPOCH)) for step in range(steps)]


def test_a_draw_is_sorted_and_gives_each_student_layer_one_of_the_declared_pairs() -> None:
    made = Random(every_steps=1, every_epochs=None)
    for drawn in draws(paired(made), 100):
        met = [theirs for _, theirs in drawn]
        assert [ours for ours, _ in drawn] == [1, 2, 3]
        assert met == sorted(set(met)) and set(drawn) <= set(made.pairs(3, 6))


def test_every_declared_pair_is_drawn_sometime() -> None:
    made = Random(every_steps=1, every_epochs=None)
    assert {pair for drawn in draws(paired(made), 400) for pair in drawn} == set(made.pairs(3, 6))


def test_every_choice_is_equally_likely() -> None:
    """Pearson's statistic over the 20 choices of 3 of 6 layers stays below its 99.9 % point (19 degrees: 43.8)."""
    count = 4000
    found = Counter(tuple(theirs for _, theirs in drawn) for drawn in draws(paired(Random(1, None)), count))
    expected = count / 20
    assert set(found) == set(combinations(range(1, 7), 3))
    assert sum((seen - expected) ** 2 / expected for seen in found.values()) < 43.8


def test_a_draw_holds_as_long_as_asked() -> None:
    by_epoch, by_steps = draws(paired(Random()), 60), draws(paired(Random(every_steps=7, every_epochs=None)), 60)
    by_two = draws(paired(Random(every_epochs=2)), 60)
    for found, length in ((by_epoch, EPOCH), (by_steps, 7), (by_two, 2 * EPOCH)):
        pieces = [found[start : start + length] for start in range(0, 60, length)]
        assert all(piece == [piece[0]] * len(piece) for piece in pieces)
        assert len({tuple(piece[0]) for piece in pieces}) > 1
    assert by_two[0] == by_epoch[0], "the n-th draw is the same, however long each holds"


def test_a_resumed_training_sees_the_draws_of_an_unbroken_one() -> None:
    made = Random(every_steps=2, every_epochs=None)
    whole = draws(paired(made), 30)
    resumed = paired(made)
    assert [resumed.drawn(Progress(step, 30, EPOCH)) for step in range(17, 30)] == whole[17:]
    assert draws(paired(made, seed=2), 30) != whole


def test_nobody_elses_random_numbers_are_shifted() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    draws(paired(Random()), 20)
    torch.testing.assert_close(torch.randn(3), expected)


def test_the_pair_of_the_embeddings_stays() -> None:
    for drawn in draws(paired(Random(1, None), embeddings=True), 20):
        assert drawn[0] == (0, 0) and len(drawn) == 4


def test_without_the_last_layers_they_meet_nobody() -> None:
    """As RAIL-KD: the student's layers below the last, of the teacher's below the last."""
    made = Random(include_last=False)
    assert {ours for ours, _ in made.pairs(3, 6)} == {1, 2}
    assert {theirs for _, theirs in made.pairs(3, 6)} == {1, 2, 3, 4, 5}
    with pytest.raises(ImpossibleError, match="leaves a student of one layer nothing to match: set"):
        made.pairs(1, 6)


def test_at_equal_depth_there_is_nothing_to_draw() -> None:
    assert Random().pairs(4, 4) == [(layer, layer) for layer in range(1, 5)]


@pytest.mark.parametrize(
    ("steps", "epochs", "last", "complaint"),
    [
        (None, None, True, "must be one number and one null"),
        (5, 1, True, "set matching.every_epochs=null to draw by steps"),
        (0, None, True, "matching.every_steps=0"),
        (None, 0.5, True, "matching.every_epochs=0.5"),
        (None, 1, 1, "matching.include_last=1 must be true or false"),
    ],
)
def test_bad_options_are_refused(steps: int, epochs: int, last: bool, complaint: str) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        Random(steps, epochs, last)
