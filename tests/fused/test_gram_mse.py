"""Gram matrices by their smaller side against the matrices themselves, near the teacher above all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.fused.gram_mse import gram_distance, narrow
from kdbench.knowledge.base import Knowledge
from kdbench.knowledge.gram_features import GramFeatures
from kdbench.knowledge.gram_tokens import GramTokens
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse

LENGTHS = (12, 1, 5, 0)
TOKENS = torch.arange(12)[None] < torch.tensor(LENGTHS)[:, None]
Objective = Callable[..., Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrices(student: Tensor, teacher: Tensor) -> Tensor:
    """What is said of `gram_distance`, as it is written."""
    return (student @ student.mT - teacher @ teacher.mT).square().sum(dim=(1, 2))


@pytest.mark.parametrize(("ours", "theirs"), [(4, 4), (2, 5), (5, 3), (20, 20)])
def test_the_distance_is_that_of_the_matrices(ours: int, theirs: int) -> None:
    found = []
    for distance in (gram_distance, matrices):
        sides = [drawn(3, 11, width, seed=width + 1).requires_grad_() for width in (ours, theirs)]
        losses = distance(*sides)
        found.append((losses.detach(), *torch.autograd.grad(losses, sides, drawn(3))))
    torch.testing.assert_close(found[0], found[1], atol=1e-10, rtol=1e-10)


def test_the_gradients_are_those_of_the_value() -> None:
    sides = [drawn(2, 7, 3, seed=seed).requires_grad_() for seed in (1, 2)]
    assert torch.autograd.gradcheck(gram_distance, sides)


@pytest.mark.parametrize("near", [1.0, 1e-1, 1e-2, 1e-3, 1e-4])
def test_single_precision_keeps_its_digits_near_the_teacher(near: float) -> None:
    """Value and gradient to 1e-6, where the three squared norms would have lost all digits."""
    student = drawn(3, 96, 16, seed=1).float()
    teacher = (student + near * drawn(3, 96, 16, seed=2)).float()
    found = []
    for distance, dtype in ((gram_distance, torch.float32), (matrices, torch.float64)):
        side = student.to(dtype).requires_grad_()
        losses = distance(side, teacher.to(dtype))
        found.append((losses.detach().double(), torch.autograd.grad(losses.sum(), side)[0].double()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=0.0)
    assert float((found[0][1] - found[1][1]).norm() / found[1][1].norm()) < 1e-6


def test_the_same_vectors_are_at_no_distance() -> None:
    side = drawn(3, 40, 8).float().requires_grad_()
    losses = gram_distance(side, side.detach())
    assert not losses.any() and not torch.autograd.grad(losses.sum(), side)[0].any()


def test_rotated_vectors_are_at_a_distance_of_rounding_that_is_not_negative() -> None:
    side = drawn(20, 40, 8).float()
    rotation = torch.linalg.qr(drawn(8, 8, seed=5).float())[0]
    found = gram_distance(side, side @ rotation)
    assert float(found.min()) >= 0.0
    assert bool((found <= 1e-6 * (side @ side.mT).square().sum(dim=(1, 2))).all())


def test_a_sample_s_gradient_is_weighed_by_its_own_factor() -> None:
    sides = [drawn(3, 9, 4, seed=seed).requires_grad_() for seed in (1, 2)]
    losses = gram_distance(*sides)
    weighed = torch.autograd.grad(losses, sides, torch.tensor([2.0, 0.0, -1.0]).double(), retain_graph=True)
    for ours, plain in zip(weighed, torch.autograd.grad(losses.sum(), sides), strict=True):
        torch.testing.assert_close(ours, torch.stack([2 * plain[0], 0 * plain[1], -plain[2]]))


def test_a_gradient_of_the_gradient_is_refused() -> None:
    side = drawn(3, 9, 4).requires_grad_()
    with pytest.raises(KdbenchError, match=r"cannot be differentiated again"):
        torch.autograd.grad(gram_distance(side, drawn(3, 9, 4, seed=1)).sum(), side, create_graph=True)


def test_only_what_asks_for_a_gradient_keeps_one() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        gram_distance(drawn(3, 30, 4).requires_grad_(), drawn(3, 30, 4, seed=1))
    assert [tensor.shape for tensor in kept] == [(3, 30, 4)]


def test_narrow_is_half_as_many_columns_as_rows() -> None:
    assert narrow(torch.ones(1, 8, 4), torch.ones(1, 8, 2))
    assert not narrow(torch.ones(1, 8, 4), torch.ones(1, 8, 5))


WRITTEN = "written"
GRAMS = [
    # The student's and the teacher's width, and whether their narrower side is another than the one written.
    (GramTokens(), 3, 3, True),
    (GramTokens(), 3, 6, True),
    (GramTokens(), 3, 8, False),
    (GramTokens(view="spans", span_length=2), 3, 2, True),
    (GramTokens(view="spans", span_length=4), 3, 3, False),
    (GramFeatures(), 24, 24, True),
    (GramFeatures(), 20, 20, False),
    (GramFeatures(view="spans", span_length=5), 8, 8, True),
]


@pytest.mark.parametrize(("knowledge", "ours", "theirs", "smaller"), GRAMS)
def test_fused_equals_written(
    knowledge: Knowledge, ours: int, theirs: int, smaller: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and both gradients over ragged rows with garbage for padding; by the smaller side where there is one."""
    fused = knowledge.fused(partial(mse, reduction="mean"))
    assert fused is not None
    counted: list[str] = []
    written = partial(knowledge.distance, mse)
    monkeypatch.setattr(knowledge, "distance", lambda *sides: counted.append(WRITTEN) or written(*sides[1:]))
    found = []
    for distance in (fused, written):
        sides, tokens = states(knowledge, ours, theirs)
        losses = distance(*sides, tokens)
        found.append((losses.detach(), *torch.autograd.grad(losses, sides, drawn(len(LENGTHS), seed=7))))
    assert (counted == []) == smaller
    torch.testing.assert_close(found[0], found[1], atol=1e-10, rtol=1e-10)
    assert bool((found[0][0][:3] > 1e-3).all()) and found[0][0][3] == 0


def states(knowledge: Any, *widths: int) -> tuple[list[Tensor], Tensor]:
    """States as `extract` gives them, with garbage where there is no token, and the tokens."""
    step = knowledge.span_length if knowledge.view == "spans" else 1
    places = -(-TOKENS.shape[1] // step)
    real = torch.arange(places)[None] * step < torch.tensor(LENGTHS)[:, None]
    sides = [drawn(len(LENGTHS), places, width, seed=seed) for seed, width in enumerate(widths)]
    return [torch.where(real[:, :, None], side, 1e3).requires_grad_() for side in sides], TOKENS


@pytest.mark.parametrize("knowledge", [GramTokens(), GramFeatures()])
@pytest.mark.parametrize(
    "objective",
    [
        partial(mse, l2_norm=True),
        partial(mse, teacher_scale=2.0),
        partial(mse, temperature=2.0),
        partial(mse, reduction="sum"),
        kl,
    ],
)
def test_what_is_not_known_is_left_as_it_is_written(knowledge: Knowledge, objective: Objective) -> None:
    assert knowledge.fused(objective) is None


def test_half_precision_states_are_compared_in_float32_under_autocast() -> None:
    knowledge = GramFeatures()
    fused = knowledge.fused(mse)
    assert fused is not None
    sides = [drawn(len(LENGTHS), 12, 32, seed=seed).bfloat16() for seed in (1, 2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fused(*sides, TOKENS)
    expected = knowledge.distance(mse, *(side.double() for side in sides), TOKENS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
