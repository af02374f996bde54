"""Mean squared error."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.masking import mean_per_sample

VERSION = 1
COMPARES = frozenset({"values", "logits", "tensors"})


def mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over a sample's valid elements of (student - teacher)^2 (Romero et al. 2015; Jiao et al. 2020, eq. 7 to 9).

    Args:
        student, teacher: tensors of one shape, (B, ...), or a regression's output (B, 1) and its labels (B,).
        mask: elements that count, broadcastable to the tensors; None for all. A NaN label adds nothing.

    Returns:
        (B,) losses in the square of the tensors' unit.
    """
    if teacher.dim() == 1:  # labels of a regression, NaN where there is none
        labelled = ~torch.isnan(teacher)
        difference = student.squeeze(-1) - torch.where(labelled, teacher, 0.0)
        return torch.where(labelled, difference.square(), 0.0)
    return mean_per_sample((student - teacher).square(), mask)
