"""Kullback-Leibler divergence between two distributions over the last axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kdbench.masking import full_precision, lengths, log_softmax, mean_per_sample, rows
from kdbench.temperature import base
from kdbench.temperature.base import Temperature
from kdbench.value import switch

VERSION = 1
COMPARES = frozenset({"logits", "tensors"})


def kl(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    temperature: Temperature = 1.0,
    t_squared: bool = True,
    per_class: bool = False,
) -> Tensor:
    """KL(softmax(teacher / T) || softmax(student / T)), times T^2 (Hinton et al. 2015, section 2).

    Its gradient with respect to the student is that of the soft cross-entropy; its value is 0 where the two agree.

    Args:
        student, teacher: scores before softmax, (B, C) or (B, ..., C). Never probabilities: a second softmax flattens
            them to almost nothing.
        mask: elements that count, broadcastable to the scores; None for all.
        temperature: T > 0; or one for each row, as a tensor (B,) or (B, ...) or as the function that gives it.
        t_squared: multiply by T^2, which keeps the gradient's scale when the temperature changes.
        per_class: divide each row by its valid elements. OFA-Compress does so to the relations of MiniLM, by an
            elementwise mean where a sum over the row is meant: the term shrinks as 1 / length.

    Returns:
        (B,) divergences in nats, averaged over the valid rows of each sample.
    """
    student, teacher = full_precision(student), full_precision(teacher)
    row = base.of_rows(temperature, student, teacher, mask)
    log_student = log_softmax(student / row, mask)
    log_teacher = log_softmax(teacher / row, mask)
    loss = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)
    if t_squared:
        loss = loss * base.squared(row)
    if per_class:
        loss = loss / lengths(student, mask)
    return mean_per_sample(loss, rows(mask))


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a temperature that is neither a number greater than 0 nor an adaptive one, and a switch that is none."""
    base.check(f"{key}.temperature", options.get("temperature", 1.0))
    for name in ("t_squared", "per_class"):
        switch(f"{key}.{name}", options.get(name, False))
