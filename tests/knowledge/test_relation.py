"""Relations of queries, keys and values against loops; what they are blind to; how heads are split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.relation import Relation
from kdbench.masking import log_softmax
from kdbench.objective.kl import kl
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

Outputs = Callable[..., ModelOutputs]
Compared = Callable[..., Tensor]
LENGTHS = (5, 3, 1)


def vectors(side: ModelOutputs, of: str, row: int, heads: int) -> list[list[list[float]]]:
    """A row's real tokens' vectors, joined over the model's heads and split into others: [head][token]."""
    native = getattr(side, of)[1][row].tolist()
    joined = [[value for head in native for value in head[token]] for token in range(LENGTHS[row])]
    width = len(joined[0]) // heads
    return [[token[head * width : (head + 1) * width] for token in joined] for head in range(heads)]


def products(knowledge: Relation, side: ModelOutputs) -> Tensor:
    """What is compared of the first layer, padding included."""
    return knowledge.relate(knowledge.extract(side, 1), side.mask)[0]


def divergence(student: ModelOutputs, teacher: ModelOutputs, of: str, row: int, heads: int, own: bool) -> float:
    """KL(softmax(X_t X_t^T / sqrt(d)) || softmax(X_s X_s^T / sqrt(d))), mean over heads and tokens."""
    rows = []
    for side in (teacher, student):
        split = vectors(side, of, row, heads)
        divisor = math.sqrt(getattr(side, of)[1].shape[-1] if own else len(split[0][0]))
        found = []
        for head in split:
            for left in head:
                scores = [sum(a * b for a, b in zip(left, right, strict=True)) / divisor for right in head]
                found.append([math.exp(score) / sum(map(math.exp, scores)) for score in scores])
        rows.append(found)
    total = [sum(p * math.log(p / q) for p, q in zip(*pair, strict=True)) for pair in zip(*rows, strict=True)]
    return sum(total) / len(total)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("of", ["query", "key", "value"])
@pytest.mark.parametrize(("heads", "number"), [("native", 2), ("flatten", 1), (1, 1), (4, 4)])
def test_relations_equal_their_definition(
    of: str, heads: str | int, number: int, padding: int, outputs: Outputs, compared: Compared
) -> None:
    student, teacher = outputs(1, padding=padding), outputs(2, padding=padding)
    loss = compared(Relation(of, heads), kl, student, teacher, 1)  # type: ignore[arg-type]
    for row in range(3):
        assert float(loss[row]) == pytest.approx(divergence(student, teacher, of, row, number, False), abs=1e-9)


def test_heads_and_widths_may_differ_where_both_are_split_alike(outputs: Outputs, compared: Compared) -> None:
    student, teacher = outputs(1, width=8, heads=2), outputs(2, width=12, heads=3)
    loss = compared(Relation("value", 4), kl, student, teacher, 1)
    for row in range(3):
        assert float(loss[row]) == pytest.approx(divergence(student, teacher, "value", row, 4, False), abs=1e-9)


def test_the_released_scale_is_that_of_the_models_own_heads(outputs: Outputs, compared: Compared) -> None:
    """Defect 5 of the authors' release: flattened logits are sharper by the root of the number of heads."""
    student, teacher = outputs(1), outputs(2, heads=4)
    loss = compared(Relation("value", "flatten", "head"), kl, student, teacher, 1)
    for row in range(3):
        assert float(loss[row]) == pytest.approx(divergence(student, teacher, "value", row, 1, True), abs=1e-9)
    right, released = (products(Relation("value", "flatten", scale), teacher) for scale in ("split", "head"))  # type: ignore[arg-type]
    torch.testing.assert_close(released, right * math.sqrt(4))
    native = [products(Relation("value", "native", scale), teacher) for scale in ("split", "head")]  # type: ignore[arg-type]
    assert torch.equal(*native)


def test_flattened_products_are_the_sum_over_the_heads(outputs: Outputs) -> None:
    side = outputs(1)
    native = products(Relation("key"), side) * math.sqrt(4)
    flat = products(Relation("key", "flatten"), side) * math.sqrt(8)
    torch.testing.assert_close(flat, native.sum(dim=1, keepdim=True))
    assert torch.equal(products(Relation("key", "flatten"), side), products(Relation("key", 1), side))
    torch.testing.assert_close(products(Relation("key", 2), side), products(Relation("key"), side))


def test_a_rotation_and_a_change_of_sign_change_nothing_and_a_shift_does(
    outputs: Outputs, rotation: Callable[[int], Tensor]
) -> None:
    side, knowledge = outputs(1), Relation("value")
    expected = products(knowledge, side)

    def of(values: Tensor) -> Tensor:
        return products(knowledge, replace(side, value={1: values}))

    torch.testing.assert_close(of(side.value[1] @ rotation(4)), expected)
    torch.testing.assert_close(of(-side.value[1]), expected)
    assert not torch.allclose(of(side.value[1] + 1.0), expected)
    real, mask = knowledge.relate(knowledge.extract(side, 1), side.mask)
    torch.testing.assert_close(log_softmax(real, mask).exp().sum(dim=-1), torch.ones(3, 2, 5, dtype=torch.float64))


def test_vectors_of_twice_the_width_are_weaker_by_the_fourth_root_of_two(outputs: Outputs) -> None:
    side = outputs(1)
    wider = torch.nn.functional.pad(side.value[1], (0, 4))
    padded, scaled = (replace(side, value={1: wider * factor}) for factor in (1.0, 2**0.25))
    expected = products(Relation("value"), side)
    torch.testing.assert_close(products(Relation("value"), scaled), expected)
    assert not torch.allclose(products(Relation("value"), padded), expected)


def test_only_what_is_related_is_captured() -> None:
    assert Relation("query").taps([1, 2]) == Taps(query=frozenset({1, 2}))
    assert Relation("key").taps([2]) == Taps(key=frozenset({2}))
    assert Relation("value").taps([2]) == Taps(value=frozenset({2}))


def test_heads_that_cannot_meet_are_refused_with_those_that_can() -> None:
    student, teacher = Shape(2, 8, 2, 3), Shape(4, 12, 4, 3)
    with pytest.raises(ImpossibleError, match=r"has 2 and the teacher 4: set knowledge.heads=flatten.* 1, 2, 4, which"):
        Relation("value").check(student, teacher, False)
    with pytest.raises(ImpossibleError, match=r"heads=3, which does not divide .* 8 and .* 12: .* one of 1, 2, 4$"):
        Relation("value", 3).check(student, teacher, False)
    with pytest.raises(ImpossibleError, match=r"knowledge=value_relation compares what has no width"):
        Relation("value", 4).check(student, teacher, True)
    for heads in ("flatten", 4):
        Relation("value", heads).check(student, teacher, False)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"of": "output"}, "knowledge.of=output is unknown: choose query, key or value"),
        ({"of": "value", "heads": 0}, "knowledge.heads=0 must be native, flatten or a whole number of at least 1"),
        ({"of": "value", "heads": True}, "knowledge.heads=True must be native"),
        ({"of": "value", "heads": "all"}, "knowledge.heads=all must be native"),
        ({"of": "value", "scale": "none"}, "knowledge.scale=none is unknown"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        Relation(**options)  # type: ignore[arg-type]
