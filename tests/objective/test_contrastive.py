"""COS-NCE against loops over the batch, and what it does where there is nothing to contrast."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdbench.objective.contrastive import contrastive
from kdbench.objective.cosine import cosine


def tensors(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def angle(left: list[float], right: list[float]) -> float:
    product = sum(x * y for x, y in zip(left, right, strict=True))
    return product / math.sqrt(sum(x * x for x in left)) / math.sqrt(sum(y * y for y in right))


def looped(student: Tensor, teacher: Tensor, mask: list[list[bool]]) -> list[float]:
    """(B, S, D): the mean cosine over common places, then l_i = g_ii + 1 - mean over j of (g_ij - g_ii) / 2."""
    losses = []
    for i, own in enumerate(mask):
        distances = []
        for j, other in enumerate(mask):
            places = [place for place, both in enumerate(zip(own, other, strict=True)) if all(both)]
            angles = [angle(student[i, place].tolist(), teacher[j, place].tolist()) for place in places]
            distances.append(1 - sum(angles) / len(angles) if angles else None)
        positive = distances[i]
        if positive is None:
            losses.append(0.0)
            continue
        further = [far - positive for j, far in enumerate(distances) if j != i and far is not None]
        losses.append(positive + 1 - (sum(further) / len(further) if further else 0.0) / 2)
    return losses


def test_vectors_equal_loops() -> None:
    student, teacher = tensors(5, 7)
    expected = looped(student[:, None], teacher[:, None], [[True]] * 5)
    assert contrastive(student, teacher).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "mask",
    [
        [[True, True, True]] * 4,
        [[True, True, True], [True, True, False], [True, False, False], [True, True, False]],
        [[True, True, True], [False, False, False], [True, False, False], [False, True, True]],
    ],
    ids=["whole", "padded", "an empty sample and two without a common place"],
)
def test_places_equal_loops(mask: list[list[bool]]) -> None:
    student, teacher = tensors(4, 3, 6)
    found = contrastive(student, teacher, torch.tensor(mask)[:, :, None])
    assert found.tolist() == pytest.approx(looped(student, teacher, mask), abs=1e-6)


def test_layers_that_are_summed_are_the_paper_s_mean_times_their_number() -> None:
    """The loss is linear in the cosines, which the paper averages over layers first."""
    student, teacher = tensors(4, 3, 2, 6)
    layers = sum(contrastive(student[:, :, layer], teacher[:, :, layer]) for layer in range(2))
    torch.testing.assert_close(contrastive(student.flatten(1, 2), teacher.flatten(1, 2)) * 2, layers)


def test_a_lone_sample_has_the_cosine_distance_and_1() -> None:
    student, teacher = tensors(1, 3, 6)
    torch.testing.assert_close(contrastive(student, teacher), cosine(student, teacher) + 1)


def test_bounds() -> None:
    student = torch.eye(4, dtype=torch.float64)[:2]
    torch.testing.assert_close(contrastive(student, student), torch.full((2,), 0.5, dtype=torch.float64))
    opposed = torch.stack([student[0], -student[0]])
    assert contrastive(opposed, opposed).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert contrastive(opposed, -opposed).tolist() == pytest.approx([4.0, 4.0], abs=1e-12)
    same = student[:1].expand(3, 4)
    assert contrastive(same, same).tolist() == pytest.approx([1.0] * 3), "equal samples cannot be told apart"


def test_scales_are_ignored_and_the_order_of_the_batch_is_only_an_order() -> None:
    student, teacher = tensors(5, 3, 6)
    expected = contrastive(student, teacher)
    scales = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(contrastive(scales * student, teacher / scales), expected)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(contrastive(student[order], teacher[order]), expected[order])


def test_the_nearest_stranger_is_pushed_away() -> None:
    """A step against the gradient brings the pair together and the others apart."""
    student, teacher = tensors(4, 6)
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(contrastive(student, teacher).sum(), student)

    def gaps(side: Tensor) -> Tensor:
        near = torch.nn.functional.cosine_similarity(side[:, None], teacher[None], dim=-1)
        return near.diagonal() - near.mean(dim=1)

    moved = (student - 0.1 * gradient).detach()
    assert bool((gaps(moved) > gaps(student.detach())).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_round_the_angles(dtype: torch.dtype) -> None:
    student, teacher = (side.to(dtype) for side in tensors(4, 3, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive(student, teacher)
    torch.testing.assert_close(found, contrastive(student.double(), teacher.double()).float(), atol=1e-6, rtol=0)
