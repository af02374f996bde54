"""Cosine distance."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdbench.masking import mean_per_sample, rows

VERSION = 1
COMPARES = frozenset({"logits", "tensors"})  # a single value has no direction


def cosine(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - cos(student, teacher) over the last axis (Sanh et al. 2019), blind to the length of either vector.

    Args:
        student, teacher: (B, D) or (B, ..., D).
        mask: elements that count; a masked element is left out of its vector.

    Returns:
        (B,) distances in [0, 2], averaged over the valid vectors of each sample.
    """
    if mask is not None and mask.shape[-1] > 1:
        student, teacher = student.masked_fill(~mask, 0.0), teacher.masked_fill(~mask, 0.0)
    distance = 1.0 - functional.cosine_similarity(student, teacher, dim=-1)
    return mean_per_sample(distance, rows(mask))
