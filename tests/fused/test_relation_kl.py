"""Fused relations against what is written: values, gradients, padding, and the errors of what they cannot do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.fused import pieces
from kdbench.fused.relation_kl import fused_divergence, relation_kl
from kdbench.knowledge.relation import Relation
from kdbench.objective.cosine import cosine
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.outputs import ModelOutputs
from kdbench.temperature.flsw import flsw

LENGTHS = (7, 1, 4, 5, 4, 0)
PREFIXES = torch.arange(7)[None] < torch.tensor(LENGTHS)[:, None]
HOLES = PREFIXES & (torch.arange(7) % 3 != 1)[None]
Objective = Callable[..., Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vectors(seed: int, width: int = 12, heads: int = 2, rows: int = len(LENGTHS)) -> Tensor:
    return drawn(rows, heads, 7, width // heads, seed=seed)


def read(knowledge: Relation, values: Tensor, tokens: Tensor = PREFIXES) -> Tensor:
    return knowledge.extract(ModelOutputs(mask=tokens, logits=torch.zeros(1, 2), value={1: values}), 1)


def both(
    objective: Objective, tokens: Tensor = PREFIXES, heads: str | int = "native", teacher: Tensor | None = None
) -> list[tuple[Tensor, Tensor]]:
    """The losses and the student's gradient of a random sum of them, fused and as they are written."""
    knowledge = Relation("value", heads)
    fused = knowledge.fused(objective)
    assert fused is not None
    target = read(knowledge, vectors(2) if teacher is None else teacher, tokens)
    found = []
    for distance in (fused, partial(knowledge.distance, objective)):
        student = vectors(1).requires_grad_()
        losses = distance(read(knowledge, student, tokens), target, tokens)
        (gradient,) = torch.autograd.grad(losses, student, drawn(len(LENGTHS), seed=3))
        found.append((losses.detach(), gradient))
    return found


def assert_equal(found: list[tuple[Tensor, Tensor]]) -> None:
    assert float(found[1][0].abs().max()) > 1e-3 and float(found[1][1].abs().max()) > 1e-3
    torch.testing.assert_close(found[0], found[1], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("most", [pieces.CACHED, 100, 1])
@pytest.mark.parametrize("tokens", [PREFIXES, HOLES, torch.ones_like(PREFIXES)], ids=["ragged", "holes", "full"])
@pytest.mark.parametrize("heads", ["native", "flatten", 4, 12])
@pytest.mark.parametrize("objective", [kl, soft_cross_entropy])
def test_fused_equals_written(
    objective: Objective, heads: str | int, tokens: Tensor, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "CACHED", most)
    monkeypatch.setattr(pieces, "WASTED", 20 if most == 100 else pieces.WASTED)
    assert_equal(both(objective, tokens, heads))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 3.0},
        {"temperature": 2, "t_squared": False},
        {"temperature": 0.5, "per_class": True},
        {"t_squared": False, "per_class": True},
    ],
)
@pytest.mark.parametrize("objective", [kl, soft_cross_entropy])
def test_options_are_those_of_the_objective(objective: Objective, options: dict[str, Any]) -> None:
    assert_equal(both(partial(objective, **options)))


def test_widths_may_differ_where_both_are_split_alike() -> None:
    assert_equal(both(kl, heads=4, teacher=vectors(2, width=20, heads=5)))


@pytest.mark.parametrize(
    "objective",
    [
        partial(kl, temperature=partial(flsw, base=2.0)),
        partial(soft_cross_entropy, temperature=torch.ones(3)),
        partial(kl, mask=PREFIXES),
        partial(partial(kl, per_class=True), temperature=flsw),
        mse,
        cosine,
    ],
)
def test_what_is_not_known_is_left_as_it_is_written(objective: Objective) -> None:
    assert fused_divergence(objective) is None and Relation("value").fused(objective) is None


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("tokens", [PREFIXES, HOLES], ids=["ragged", "holes"])
def test_the_gradient_is_that_of_the_value(tokens: Tensor, crossed: bool) -> None:
    student, teacher = vectors(1).requires_grad_(), vectors(2)
    assert torch.autograd.gradcheck(lambda side: relation_kl(side, teacher, tokens, 1.5, crossed=crossed), student)


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("garbage", [1e3, torch.inf, torch.nan])
def test_padding_changes_no_bit(garbage: float, crossed: bool) -> None:
    found = []
    for padding in (0, 3):
        tokens = torch.nn.functional.pad(PREFIXES, (0, padding))
        sides = [torch.nn.functional.pad(vectors(seed), (0, 0, 0, padding)) for seed in (1, 2)]
        student, teacher = (torch.where(tokens[:, None, :, None], side, garbage) for side in sides)
        student.requires_grad_()
        losses = relation_kl(student, teacher, tokens, crossed=crossed)
        (gradient,) = torch.autograd.grad(losses.sum(), student)
        found.append((losses.detach(), gradient[:, :, :7]))
        assert not torch.where(tokens[:, None, :, None], 0.0, gradient).any()
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert bool(found[0][0].isfinite().all())


def test_the_order_of_examples_heads_and_tokens_plays_no_part() -> None:
    student, teacher = vectors(1), vectors(2)
    expected = relation_kl(student, teacher, PREFIXES)
    rows, tokens = torch.tensor([3, 5, 0, 1, 4, 2]), torch.tensor([6, 2, 0, 5, 1, 4, 3])
    torch.testing.assert_close(relation_kl(student[rows], teacher[rows], PREFIXES[rows]), expected[rows])
    torch.testing.assert_close(relation_kl(student.flip(1), teacher.flip(1), PREFIXES), expected)
    shuffled = relation_kl(student[:, :, tokens], teacher[:, :, tokens], PREFIXES[:, tokens])
    torch.testing.assert_close(shuffled, expected)


def test_each_sample_s_gradient_is_weighed_by_its_own_factor() -> None:
    student, teacher = vectors(1).requires_grad_(), vectors(2)
    losses = relation_kl(student, teacher, PREFIXES)
    weights = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, 1.0], dtype=torch.float64)
    (weighed,) = torch.autograd.grad(losses, student, weights, retain_graph=True)
    (plain,) = torch.autograd.grad(losses.sum(), student)
    torch.testing.assert_close(weighed, plain * weights[:, None, None, None])
    assert bool(weighed[0].any()) and not weighed[2].any()


def test_a_student_that_is_its_teacher_loses_nothing_and_learns_nothing() -> None:
    student = vectors(1).float().requires_grad_()
    losses = relation_kl(student, student.detach(), PREFIXES)
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    assert not losses.any() and not gradient.any()


def test_samples_without_and_with_one_token_lose_nothing() -> None:
    losses = relation_kl(vectors(1), vectors(2), PREFIXES)
    assert losses[1] == 0 and losses[5] == 0 and bool((losses[[0, 2, 3, 4]] > 0).all())


@pytest.mark.parametrize("knowledge", [Relation("value"), Relation("value", 4, "head")])
def test_half_precision_vectors_are_compared_in_float32_under_autocast(knowledge: Relation) -> None:
    """Fused and written alike, and neither as bfloat16 products would be."""
    student, teacher = (vectors(seed).bfloat16() for seed in (1, 2))
    expected = knowledge.distance(kl, read(knowledge, student.double()), read(knowledge, teacher.double()), PREFIXES)
    fused = knowledge.fused(kl)
    assert fused is not None
    for distance in (fused, partial(knowledge.distance, kl)):
        leaf = student.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = distance(*(read(knowledge, side) for side in (leaf, teacher)), PREFIXES)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
        found.sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None and leaf.grad.dtype == torch.bfloat16 and bool(leaf.grad.any())


def test_single_precision_is_near_double_precision() -> None:
    student, teacher = vectors(1), vectors(2)
    expected = relation_kl(student, teacher, PREFIXES)
    torch.testing.assert_close(relation_kl(student.float(), teacher.float(), PREFIXES).double(), expected, rtol=1e-5,
                               atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("objective", [kl, soft_cross_entropy])
def test_tokens_that_are_unlike_themselves_are_compared_all_the_same(objective: Objective, dtype: torch.dtype) -> None:
    """Probabilities of exp(-200) and less between a token and itself, which float32 does not know."""
    knowledge = Relation("value")
    fused = knowledge.fused(objective)
    assert fused is not None
    student, teacher = (vectors(seed).to(dtype) for seed in (1, 2))
    student[:, :, 2] *= 100.0
    teacher[:, :, 0] *= 100.0
    found = []
    for distance in (fused, partial(knowledge.distance, objective)):
        side = student.clone().requires_grad_()
        losses = distance(side, teacher, PREFIXES)
        found.append((losses.detach(), torch.autograd.grad(losses.sum(), side)[0]))
    assert float(found[1][0].max()) > 100.0
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found[0], found[1], rtol=tolerance, atol=1e-2 * tolerance)


def test_what_is_kept_for_the_backward_pass_is_one_gradient_of_the_vectors() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    student, teacher = drawn(2, 3, 40, 4).requires_grad_(), drawn(2, 3, 40, 8, seed=1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        relation_kl(student, teacher, torch.ones(2, 40, dtype=torch.bool))
    assert [tensor.shape for tensor in kept] == [student.shape]


def test_a_gradient_of_the_gradient_is_refused() -> None:
    student = vectors(1).requires_grad_()
    losses = relation_kl(student, vectors(2), PREFIXES)
    with pytest.raises(KdbenchError, match=r"cannot be differentiated again: set fused=false"):
        torch.autograd.grad(losses.sum(), student, create_graph=True)
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    assert bool(gradient.any())


def test_a_teacher_that_asks_for_a_gradient_is_refused() -> None:
    student, teacher = vectors(1).requires_grad_(), vectors(2).requires_grad_()
    with pytest.raises(KdbenchError, match=r"no gradient, but it asks for one: detach it, or set fused=false"):
        relation_kl(student, teacher, PREFIXES)
    with torch.no_grad():
        assert bool(relation_kl(student, teacher, PREFIXES).isfinite().all())
