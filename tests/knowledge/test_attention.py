"""Attention maps against loops over heads and tokens; their heads' order, their floor, their refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.attention import Attention
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

Outputs = Callable[..., ModelOutputs]
Compared = Callable[..., Tensor]
LENGTHS = (5, 3, 1)
Map = list[list[float]]


def maps(side: ModelOutputs, row: int, space: str, heads: str, floor: float | None = None) -> list[Map]:
    """The maps of a row's real tokens, by their definition."""
    query, key = side.query[1][row].tolist(), side.key[1][row].tolist()
    width, tokens = len(query[0][0]), range(LENGTHS[row])
    found = []
    for head in range(len(query)):
        own = [
            [sum(a * b for a, b in zip(query[head][i], key[head][j], strict=True)) / math.sqrt(width) for j in tokens]
            for i in tokens
        ]
        if space == "probabilities":
            own = [[math.exp(score) / sum(map(math.exp, scores)) for score in scores] for scores in own]
        if floor is not None:
            own = [[0.0 if score <= floor else score for score in scores] for scores in own]
        found.append(own)
    if heads == "equal":
        return found
    total = [[sum(own[i][j] for own in found) for j in tokens] for i in tokens]
    return [[[value / (1 if heads == "sum" else len(found)) for value in row_] for row_ in total]]


def squares(student: list[Map], teacher: list[Map]) -> float:
    """The mean square of the differences of all their entries."""
    sides = [[value for own in side for row in own for value in row] for side in (student, teacher)]
    return sum((ours - theirs) ** 2 for ours, theirs in zip(*sides, strict=True)) / len(sides[0])


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("floor", [None, -1e-3, -1e2, 0.5])
@pytest.mark.parametrize("heads", ["equal", "sum", "mean"])
@pytest.mark.parametrize("space", ["scores", "probabilities"])
def test_maps_equal_their_definition(
    space: str, heads: str, floor: float | None, padding: int, outputs: Outputs, compared: Compared
) -> None:
    student, teacher = outputs(1, padding=padding), outputs(2, padding=padding)
    loss = compared(Attention(space, heads, floor), mse, student, teacher, 1)  # type: ignore[arg-type]
    for row in range(3):
        ours, theirs = (maps(side, row, space, heads, floor) for side in (student, teacher))
        assert float(loss[row]) == pytest.approx(squares(ours, theirs), abs=1e-9)


def test_the_divergence_of_mean_scores_is_that_of_their_probabilities(outputs: Outputs, compared: Compared) -> None:
    student, teacher = outputs(1), outputs(2, heads=4)
    loss = compared(Attention(heads="mean"), kl, student, teacher, 1)
    entropy_and_more = compared(Attention(heads="mean"), soft_cross_entropy, student, teacher, 1)
    for row in range(3):
        divergence = crossed = 0.0
        pairs = zip(maps(student, row, "scores", "mean")[0], maps(teacher, row, "scores", "mean")[0], strict=True)
        for ours, theirs in pairs:
            p, q = ([math.exp(score) / sum(map(math.exp, side)) for score in side] for side in (theirs, ours))
            divergence += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / LENGTHS[row]
            crossed -= sum(a * math.log(b) for a, b in zip(p, q, strict=True)) / LENGTHS[row]
        assert float(loss[row]) == pytest.approx(divergence, abs=1e-9)
        assert float(entropy_and_more[row]) == pytest.approx(crossed, abs=1e-9)


@pytest.mark.parametrize("heads", ["sum", "mean"])
def test_the_order_of_heads_plays_no_part_where_they_are_one_map(
    heads: str, outputs: Outputs, compared: Compared
) -> None:
    student, teacher = outputs(1), outputs(2)
    swapped = replace(student, scores={1: student.scores[1].flip(1)})
    one, all_heads = Attention(heads=heads), Attention()  # type: ignore[arg-type]
    expected = compared(one, mse, student, teacher, 1)
    torch.testing.assert_close(compared(one, mse, swapped, teacher, 1), expected, atol=1e-9, rtol=1e-9)
    differing = compared(all_heads, mse, swapped, teacher, 1) - compared(all_heads, mse, student, teacher, 1)
    assert bool((differing.abs() > 1e-3).all())
    # Unequal maps with equal sums: no loss of the sums is a loss of the maps.
    assert bool((compared(one, mse, swapped, student, 1) < 1e-12).all())
    assert bool((compared(all_heads, mse, swapped, student, 1) > 1e-3).all())


def test_the_released_floor_erases_negative_scores_and_leaves_probabilities(
    outputs: Outputs, compared: Compared
) -> None:
    """Defect 8 of the authors' release; TinyBERT's floor, meant for masked places, touches no real score."""
    student, teacher = outputs(1), outputs(2)
    plain = compared(Attention(), mse, student, teacher, 1)
    assert bool((compared(Attention(floor=-1e-3), mse, student, teacher, 1) < plain - 1e-3).any())
    assert torch.equal(compared(Attention(floor=-1e2), mse, student, teacher, 1), plain)
    probabilities = compared(Attention("probabilities"), mse, student, teacher, 1)
    assert torch.equal(compared(Attention("probabilities", floor=-1e-3), mse, student, teacher, 1), probabilities)


def test_probabilities_sum_to_one_over_real_tokens(outputs: Outputs) -> None:
    side = outputs(1, padding=2)
    found = Attention("probabilities").extract(side, 1)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones_like(found[..., 0]))
    assert not bool(found.masked_select(~side.mask[:, None, None, :]).any())
    assert Attention("probabilities").kind == "probabilities" and Attention().kind == "tensors"


def test_heads_that_cannot_meet_are_refused() -> None:
    student, teacher = Shape(2, 8, 2, 3), Shape(4, 16, 4, 3)
    with pytest.raises(ImpossibleError, match=r"set student.heads=4 .* knowledge=attention_sum"):
        Attention().check(student, teacher, False)
    for heads in ("sum", "mean"):
        Attention(heads=heads).check(student, teacher, False)  # type: ignore[arg-type]
        with pytest.raises(ImpossibleError, match=r"choose projection=identity"):
            Attention(heads=heads).check(student, teacher, True)  # type: ignore[arg-type]
    assert Attention().taps([1, 2]) == Taps(scores=frozenset({1, 2}))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"space": "logits"}, "knowledge.space=logits is unknown"),
        ({"heads": "max"}, "knowledge.heads=max is unknown: choose equal, sum or mean"),
        ({"floor": "low"}, "knowledge.floor=low must be a number, or null for none"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        Attention(**options)  # type: ignore[arg-type]
