"""Soft cross-entropy between two distributions over the last axis."""

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


def soft_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    temperature: Temperature = 1.0,
    t_squared: bool = True,
    per_class: bool = False,
) -> Tensor:
    """-sum_c softmax(teacher / T)_c log softmax(student / T)_c, times T^2 (Hinton et al. 2015, section 2).

    The factor T^2 keeps the gradient's scale when the temperature changes; several releases leave it out
    (`t_squared=False`), which weakens the term by about 1 / T^2.

    Args:
        student, teacher: scores before softmax, (B, C) or (B, ..., C) with the distribution on the last axis.
        mask: elements that count, broadcastable to the scores; None for all.
        temperature: T > 0; or one for each row, as a tensor (B,) or (B, ...) or as the function that gives it.
        t_squared: multiply by T^2.
        per_class: divide each row by its valid elements. OFA-Compress does so to the logits of a vocabulary: with
            59,457 words a weight of 10,000 is one of 0.17. (It averages over the rows of a batch, not of a sample.)

    Returns:
        (B,) losses in nats, averaged over the valid rows of each sample.
    """
    student, teacher = full_precision(student), full_precision(teacher)
    row = base.of_rows(temperature, student, teacher, mask)
    log_student = log_softmax(student / row, mask)
    probability = log_softmax(teacher / row, mask).exp()
    loss = -(probability * log_student).sum(dim=-1)
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
