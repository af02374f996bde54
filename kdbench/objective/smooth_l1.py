"""Smooth L1 distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from kdbench.masking import full_precision, labelled, mean_per_sample
from kdbench.value import positive

VERSION = 1
COMPARES = frozenset({"values", "logits", "tensors", "probabilities"})


def smooth_l1(student: Tensor, teacher: Tensor, mask: Tensor | None = None, beta: float = 1.0) -> Tensor:
    """Mean over a sample's valid elements of |d|, rounded to a parabola near 0 (Girshick 2015, equation 3).

    d = student - teacher: d^2 / (2 beta) where |d| < beta, otherwise |d| - beta / 2. Outliers pull with a force of 1
    instead of one that grows with them.

    Args:
        student, teacher: tensors of one shape, (B, ...), or a regression's output (B, 1) and its labels (B,).
        mask: elements that count, broadcastable to the tensors; None for all. A NaN label adds nothing.
        beta: where the parabola ends, > 0, in the tensors' unit.

    Returns:
        (B,) losses in the tensors' unit.
    """
    student, teacher = full_precision(student), full_precision(teacher)
    if teacher.dim() == 1:
        student, teacher, mask = labelled(student, teacher)
    return mean_per_sample(functional.smooth_l1_loss(student, teacher, reduction="none", beta=beta), mask)


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a parabola that has no width."""
    positive(f"{key}.beta", options.get("beta", 1.0))
