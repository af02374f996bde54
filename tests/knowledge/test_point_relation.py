"""Dot products, cosines and angles over tokens, spans, layers and samples, against plain loops over the points."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.pairwise_cosine import PairwiseCosine
from kdbench.knowledge.pairwise_dot import PairwiseDot
from kdbench.knowledge.point_relation import PointRelation
from kdbench.knowledge.triplet_angle import TripletAngle
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs
from kdbench.shape import Shape

Outputs = Callable[..., ModelOutputs]
Compared = Callable[..., Tensor]
Vector = list[float]
Rows = list[list[float]]

LENGTHS = (5, 3, 1)
OVER = ["tokens", "spans", "layers", "samples"]
CLASSES: list[type[PointRelation]] = [PairwiseDot, PairwiseCosine, TripletAngle]


def dot(left: Vector, right: Vector) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def cosine_of(left: Vector, right: Vector) -> float:
    return dot(left, right) / math.sqrt(dot(left, left) * dot(right, right))


def way(start: Vector, end: Vector) -> Vector:
    return [b - a for a, b in zip(start, end, strict=True)]


def mean(vectors: list[Vector]) -> Vector:
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def groups(side: ModelOutputs, over: str, row: int, view: str) -> tuple[list[list[Vector]], list[int] | None]:
    """The points of a row in groups, and those from which relations are seen; None for all of them."""
    hidden = {layer: values.tolist() for layer, values in side.hidden.items()}
    tokens = hidden[1][row][: LENGTHS[row]]
    if over == "tokens":
        return [tokens], None
    if over == "spans":
        return [[mean(tokens[start : start + 2]) for start in range(0, len(tokens), 2)]], None
    if over == "layers":
        return [[hidden[layer][row][token] for layer in (0, 1, 2)] for token in range(LENGTHS[row])], None
    real = [hidden[1][other][: LENGTHS[other]] for other in range(len(LENGTHS))]
    return [[vectors[0] if view == "cls" else mean(vectors) for vectors in real]], [row]


def relation(kind: type[PointRelation], points: list[Vector], here: int, window: int | None = None) -> Rows:
    """What is seen from one point: rows over which a distribution runs; an empty one where nothing is seen."""
    others = [point for point in range(len(points)) if point != here]
    if kind is PairwiseDot:
        return [[dot(points[here], point) / math.sqrt(len(point)) for point in points]]
    if kind is PairwiseCosine:
        return [[cosine_of(points[here], points[other]) for other in others]]
    if window is not None:
        others = [other for other in others if abs(other - here) <= window // 2]
    ways = [way(points[here], points[other]) for other in others]
    return [[cosine_of(ways[j], ways[k]) for k in range(len(ways)) if k != j] for j in range(len(ways))]


def seen(
    kind: type[PointRelation], side: ModelOutputs, over: str, row: int, view: str, window: int | None, heads: int
) -> Rows:
    rows: Rows = []
    found, anchors = groups(side, over, row, view)
    for points in found:
        width = len(points[0]) // heads
        for head in range(heads):
            own = [point[head * width : (head + 1) * width] for point in points]
            for here in anchors if anchors is not None else range(len(own)):
                rows += [row for row in relation(kind, own, here, window) if row]
    return rows


def squares(student: Rows, teacher: Rows) -> float:
    pairs = [pair for rows in zip(student, teacher, strict=True) for pair in zip(*rows, strict=True)]
    return sum((ours - theirs) ** 2 for ours, theirs in pairs) / max(len(pairs), 1)


def divergence(student: Rows, teacher: Rows) -> float:
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        p, q = ([math.exp(score) / sum(map(math.exp, side)) for score in side] for side in (theirs, ours))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / max(len(student), 1)


def layers(knowledge: PointRelation) -> tuple[int, ...]:
    return (0, 1, 2) if knowledge.joint else (1,)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("view", ["mean", "cls"])
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("kind", CLASSES)
def test_relations_equal_their_definition(
    kind: type[PointRelation], over: str, view: str, heads: int, padding: int, outputs: Outputs, compared: Compared
) -> None:
    student, teacher = outputs(1, padding=padding), outputs(2, padding=padding)
    knowledge = kind(over, view=view, span_length=2, heads=heads)  # type: ignore[arg-type]
    for objective, expected in ((mse, squares), (kl, divergence)):
        loss = compared(knowledge, objective, student, teacher, *layers(knowledge))
        for row in range(3):
            ours, theirs = (seen(kind, side, over, row, view, None, heads) for side in (student, teacher))
            assert float(loss[row]) == pytest.approx(expected(ours, theirs), abs=1e-9)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("window", [3, 5, 7, 9, 21])
def test_a_window_bounds_the_tokens_around_the_anchor(
    window: int, padding: int, outputs: Outputs, compared: Compared
) -> None:
    student, teacher = outputs(1, padding=padding), outputs(2, padding=padding)
    loss = compared(TripletAngle(window=window), mse, student, teacher, 1)
    for row in range(3):
        ours, theirs = (seen(TripletAngle, side, "tokens", row, "", window, 1) for side in (student, teacher))
        assert float(loss[row]) == pytest.approx(squares(ours, theirs), abs=1e-9)
    everything = compared(TripletAngle(), mse, student, teacher, 1)
    assert torch.allclose(loss, everything) == (window >= 9)


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("kind", CLASSES)
def test_unequal_widths_need_no_projection(
    kind: type[PointRelation], over: str, outputs: Outputs, compared: Compared
) -> None:
    knowledge = kind(over, span_length=1)  # type: ignore[arg-type]
    knowledge.check(Shape(2, 8, 2, 4), Shape(2, 12, 2, 4), False)
    loss = compared(knowledge, mse, outputs(1, width=8), outputs(2, width=12), *layers(knowledge))
    assert bool(loss.isfinite().all()) and bool((loss[0] > 0).all())


BLIND_TO = {
    (PairwiseDot, "rotation"): True,
    (PairwiseDot, "scaling"): False,
    (PairwiseDot, "own length"): False,
    (PairwiseDot, "shift"): False,
    (PairwiseCosine, "rotation"): True,
    (PairwiseCosine, "scaling"): True,
    (PairwiseCosine, "own length"): True,
    (PairwiseCosine, "shift"): False,
    (TripletAngle, "rotation"): True,
    (TripletAngle, "scaling"): True,
    (TripletAngle, "own length"): False,
    (TripletAngle, "shift"): True,
}


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize(("kind", "change"), BLIND_TO)
def test_what_a_relation_is_blind_to(
    kind: type[PointRelation],
    change: str,
    over: str,
    outputs: Outputs,
    compared: Compared,
    restated: Outputs,
    rotation: Callable[[int], Tensor],
) -> None:
    side = outputs(1)

    def changed(values: Tensor, layer: int) -> Tensor:
        if change == "rotation":
            return values @ rotation(8)
        if change == "scaling":
            return 2.5 * values
        if change == "shift":
            return values + torch.arange(8)
        # Each point its own: one that all tokens of a span or of a sample share.
        lengths = torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0], dtype=values.dtype) if over in ("tokens", "spans") else 1.0
        samples = torch.tensor([1.0, 2.0, 3.0], dtype=values.dtype)[:, None, None] if over == "samples" else 1.0
        ones = torch.ones(5, dtype=values.dtype) * lengths
        return values * ones[None, :, None] * samples * (1.0 if over != "layers" else layer + 1)

    other = restated(side, {layer: changed(values, layer) for layer, values in side.hidden.items()})
    knowledge = kind(over, span_length=2)  # type: ignore[arg-type]
    loss = compared(knowledge, mse, other, side, *layers(knowledge))
    blind = BLIND_TO[kind, change]
    assert bool((loss < 1e-12).all()) if blind else float(loss[0]) > 1e-3


@pytest.mark.parametrize("kind", CLASSES)
def test_the_order_of_the_tokens_matters_on_one_side_and_not_on_both(
    kind: type[PointRelation], outputs: Outputs, compared: Compared, restated: Outputs
) -> None:
    student, teacher = outputs(1), outputs(2)
    order = torch.tensor([[4, 2, 0, 1, 3], [1, 2, 0, 3, 4], [0, 1, 2, 3, 4]])

    def shuffled(side: ModelOutputs) -> ModelOutputs:
        return restated(side, {1: side.hidden[1].take_along_dim(order[:, :, None], dim=1)})

    knowledge = kind()
    expected = compared(knowledge, mse, student, teacher, 1)
    both = compared(knowledge, mse, shuffled(student), shuffled(teacher), 1)
    torch.testing.assert_close(both, expected, atol=1e-9, rtol=1e-9)
    assert abs(float(compared(knowledge, mse, shuffled(student), teacher, 1)[0] - expected[0])) > 1e-3


@pytest.mark.parametrize("objective", [mse, kl])
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("kind", CLASSES)
def test_points_at_one_place_teach_nothing_and_break_nothing(
    kind: type[PointRelation],
    over: str,
    objective: Callable[..., Tensor],
    outputs: Outputs,
    compared: Compared,
    restated: Outputs,
) -> None:
    """Where all vectors are equal a way has no direction; where they are zero, no vector has one."""
    teacher = outputs(2)
    knowledge = kind(over)  # type: ignore[arg-type]
    for level in (0.0, 1.0):
        same = {layer: torch.full_like(values, level).requires_grad_() for layer, values in teacher.hidden.items()}
        loss = compared(knowledge, objective, restated(teacher, same), teacher, *layers(knowledge))
        assert bool(loss.isfinite().all())
        gradients = torch.autograd.grad(loss.sum(), [same[layer] for layer in layers(knowledge)])
        for gradient in gradients:
            assert bool(gradient.isfinite().all())
            assert kind is not TripletAngle or not bool(gradient.any())


@pytest.mark.parametrize("objective", [mse, kl])
@pytest.mark.parametrize("over", ["tokens", "spans"])
@pytest.mark.parametrize("kind", [PairwiseCosine, TripletAngle])
def test_a_row_of_one_token_has_no_pairs_and_loses_nothing(
    kind: type[PointRelation],
    over: str,
    objective: Callable[..., Tensor],
    outputs: Outputs,
    compared: Compared,
    restated: Outputs,
) -> None:
    student, teacher = outputs(1), outputs(2)
    hidden = student.hidden[1].clone().requires_grad_()
    loss = compared(kind(over, span_length=1), objective, restated(student, {1: hidden}), teacher, 1)  # type: ignore[arg-type]
    # Of three tokens each sees the angle between one pair: a single number, which is no distribution to learn.
    without = [1, 2] if kind is TripletAngle and objective is kl else [2]
    assert [row for row, value in enumerate(loss.tolist()) if value == 0.0] == without
    (gradient,) = torch.autograd.grad(loss.sum(), hidden)
    assert bool(gradient.isfinite().all()) and not bool(gradient[without].any())
    assert bool(gradient[0].any())


@pytest.mark.parametrize("kind", [PairwiseCosine, TripletAngle])
def test_a_batch_of_one_has_no_relations_between_samples(
    kind: type[PointRelation], outputs: Outputs, compared: Compared, restated: Outputs
) -> None:
    sides = [restated(side, {1: side.hidden[1][:1]}, side.mask[:1]) for side in (outputs(1), outputs(2))]
    for objective in (mse, kl):
        assert compared(kind("samples"), objective, *sides, 1).tolist() == [0.0]


def test_what_is_joint_and_what_is_in_the_batch_is_said() -> None:
    for kind in CLASSES:
        said = {over: (kind(over).joint, kind(over).in_batch) for over in OVER}  # type: ignore[arg-type]
        assert said == {
            "tokens": (False, False),
            "spans": (False, False),
            "layers": (True, False),
            "samples": (False, True),
        }


@pytest.mark.parametrize(("kind", "least"), [(PairwiseDot, 1), (PairwiseCosine, 2), (TripletAngle, 3)])
def test_too_few_layers_for_a_relation_between_them_are_refused(kind: type[PointRelation], least: int) -> None:
    enough = [(layer, layer) for layer in range(1, least + 1)]
    assert kind("layers", embeddings=False).pairs(enough) == enough
    assert kind("layers").pairs(enough[:-1]) == [(0, 0), *enough[:-1]]
    if least > 1:
        with pytest.raises(ImpossibleError, match=f"at least {least} layers .* given {least - 1}: choose matching"):
            kind("layers", embeddings=False).pairs(enough[:-1])


def test_heads_must_divide_both_widths_as_they_are() -> None:
    knowledge = PairwiseDot(heads=4)
    knowledge.check(Shape(2, 8, 2, 3), Shape(4, 12, 4, 3), False)
    with pytest.raises(ImpossibleError, match=r"heads=4, which does not divide .* one of 1, 2$"):
        knowledge.check(Shape(2, 8, 2, 3), Shape(4, 10, 4, 3), False)
    with pytest.raises(ImpossibleError, match=r"choose projection=identity, or set knowledge.heads=1"):
        knowledge.check(Shape(2, 8, 2, 3), Shape(4, 12, 4, 3), True)


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        (PairwiseCosine, {"over": "words"}, "knowledge.over=words is unknown: choose tokens, spans, layers or samples"),
        (PairwiseCosine, {"view": "tokens"}, "knowledge.view=tokens is unknown: choose mean or cls"),
        (PairwiseDot, {"heads": 0}, "knowledge.heads=0 must be a whole number"),
        (TripletAngle, {"window": 20}, "knowledge.window=20 must be odd.* set it to 21"),
        (TripletAngle, {"window": 1}, "knowledge.window=1 must be a whole number of at least 3, or null for all"),
    ],
)
def test_options_out_of_range_are_refused(
    kind: type[PointRelation], options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        kind(**options)  # type: ignore[arg-type]
