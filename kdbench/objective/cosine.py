"""Cosine distance."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdbench.masking import full_precision, mean_per_sample, rows, zeroed

VERSION = 2  # 2: in bf16 the distance is computed in float32
COMPARES = frozenset({"logits", "tensors", "probabilities"})  # a single value has no direction


def cosine(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - cos(student, teacher) over the last axis (Sanh et al. 2019), blind to the length of either vector.

    Args:
        student, teacher: (B, D) or (B, ..., D).
        mask: elements that count; a masked element is left out of its vector.

    Returns:
        (B,) distances in [0, 2], averaged over the valid vectors of each sample.
    """
    student, teacher = zeroed(full_precision(student), mask), zeroed(full_precision(teacher), mask)
    distance = 1.0 - functional.cosine_similarity(student, teacher, dim=-1)
    return mean_per_sample(distance, rows(mask))
