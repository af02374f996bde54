"""The squared distance of two Gram matrices by their smaller side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kdbench.fused.gradient import scaled


def narrow(*sides: Tensor) -> bool:
    """Whether X^T X is so much smaller than X X^T that `gram_distance` pays, as it does from half as many columns as
    rows, (..., M, P): six products of size M P^2 take the place of four of size M^2 P."""
    return all(2 * side.shape[-1] <= side.shape[-2] for side in sides)


def gram_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """||X X^T - Y Y^T||^2, the sum over all elements, without the M x M matrices.

    The textbook's ||X^T X||^2 - 2 ||X^T Y||^2 + ||Y^T Y||^2 is a small difference of large numbers once the student is
    near its teacher: in float32 a distance of a hundredth of the Gram matrices keeps three digits, and may come out
    negative. Here instead, with A = (X + Y) / 2 and E = X - Y,

        X X^T - Y Y^T = A E^T + E A^T,    ||...||^2 = 2 <A^T A, E^T E> + 2 <A^T E, E^T A>,

    whose terms are as small as the distance where the vectors themselves are near, and 0 where they are the same; of
    vectors that are far apart with Gram matrices that are not, as after a rotation, the rounding of float32 (1e-7 of
    the squared matrices) is left, never below 0. The gradients, 4 (A E^T + E A^T) X and its like, are those of the
    matrices to the last digits either way; they are made with the value and cannot be differentiated again.

    Args:
        student: X, (B, M, P).
        teacher: Y, (B, M, Q), with a gradient of its own, for a projection that maps it.

    Returns:
        (B,), in the fourth power of the vectors' unit.
    """
    widest = max(student.shape[-1], teacher.shape[-1])
    # Columns of zeros change no product.
    student, teacher = (
        side if side.shape[-1] == widest else functional.pad(side, (0, widest - side.shape[-1]))
        for side in (student, teacher)
    )
    with torch.autocast(student.device.type, enabled=False):
        return _Distance.apply(student, teacher)  # type: ignore[no-untyped-call]


class _Distance(torch.autograd.Function):
    """With Z = [A, E] and S that swaps its halves, the difference is Z S Z^T and its square is tr(S Z^T Z S Z^T Z)."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        width = student.shape[-1]
        both = torch.cat([(student + teacher) / 2, student - teacher], dim=-1)
        swapped = (both.mT @ both).roll(width, dims=1)
        distance = (swapped * swapped.mT).sum(dim=(1, 2)).clamp(min=0.0)
        # X is Z times [1, 1/2] of A and E, and Y is Z times [1, -1/2].
        along_middle, along_apart = swapped.chunk(2, dim=-1)
        halves = along_apart / 2
        maps = along_middle + halves, halves - along_middle
        needed = zip(maps, ctx.needs_input_grad, strict=True)
        ctx.save_for_backward(*(both @ (4.0 * each) if asked_for else None for each, asked_for in needed))
        return distance

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None]:
        student, teacher = ctx.saved_tensors
        return scaled(student, grad_output), scaled(teacher, grad_output)
