"""Soft cross-entropy between two distributions over the last axis."""

from __future__ import annotations

from torch import Tensor

from kdbench.masking import log_softmax, mean_per_sample, rows

VERSION = 1
COMPARES = frozenset({"logits", "tensors"})


def soft_cross_entropy(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, temperature: float = 1.0, t_squared: bool = True
) -> Tensor:
    """-sum_c softmax(teacher / T)_c log softmax(student / T)_c, times T^2 (Hinton et al. 2015, section 2).

    The factor T^2 keeps the gradient's scale when the temperature changes; several releases leave it out
    (`t_squared=False`), which weakens the term by about 1 / T^2.

    Args:
        student, teacher: scores before softmax, (B, C) or (B, ..., C) with the distribution on the last axis.
        mask: elements that count, broadcastable to the scores; None for all.
        temperature: T > 0.

    Returns:
        (B,) losses in nats, averaged over the valid rows of each sample.
    """
    log_student = log_softmax(student / temperature, mask)
    probability = log_softmax(teacher / temperature, mask).exp()
    loss = -(probability * log_student).sum(dim=-1)
    return mean_per_sample(loss, rows(mask)) * (temperature**2 if t_squared else 1.0)
