"""Kullback-Leibler divergence between two distributions over the last axis."""

from __future__ import annotations

from torch import Tensor

from kdbench.masking import log_softmax, mean_per_sample, rows

VERSION = 1
COMPARES = frozenset({"logits", "tensors"})


def kl(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, temperature: float = 1.0, t_squared: bool = True
) -> Tensor:
    """KL(softmax(teacher / T) || softmax(student / T)), times T^2 (Hinton et al. 2015, section 2).

    Its gradient with respect to the student is that of the soft cross-entropy; its value is 0 where the two agree.

    Args:
        student, teacher: scores before softmax, (B, C) or (B, ..., C). Never probabilities: a second softmax flattens
            them to almost nothing.
        mask: elements that count, broadcastable to the scores; None for all.
        temperature: T > 0.
        t_squared: multiply by T^2, which keeps the gradient's scale when the temperature changes.

    Returns:
        (B,) divergences in nats, averaged over the valid rows of each sample.
    """
    log_student = log_softmax(student / temperature, mask)
    log_teacher = log_softmax(teacher / temperature, mask)
    loss = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)
    return mean_per_sample(loss, rows(mask)) * (temperature**2 if t_squared else 1.0)
