"""In-batch contrast of angular distances."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.masking import full_precision, rows, unit

VERSION = 1
COMPARES = frozenset({"logits", "tensors", "probabilities"})  # a single value has no direction
IN_BATCH = True


def contrastive(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """COS-NCE: near to the own teacher vector, and nearer than to those of other samples (Fu et al. 2021, LRC-BERT).

    g_ij = 1 - cos(student_i, teacher_j); the loss of sample i is g_ii + 1 - (1/2) mean over j != i of (g_ij - g_ii).
    Samples with several vectors (tokens) are compared place by place: cos is the mean over the places that are valid in
    both. The release contrasts padding too, and multiplies by the number of layers, as a term's `reduction=sum` does.
    The negatives are the other samples of the batch, so their number is the batch's size less one: a lone sample has
    none, and loses g_ii + 1. Without agreement or contrast (all g equal to 1) the loss is 2.

    Args:
        student, teacher: (B, D) or (B, ..., D).
        mask: elements that count; a masked element is left out of its vector, a masked vector out of the mean.

    Returns:
        (B,) losses in [0, 4]; 0 for a sample without a valid vector, which is no negative either.
    """
    own = rows(mask)
    own = student.new_ones(student.shape[:-1], dtype=torch.bool) if own is None else own.expand(student.shape[:-1])
    left, right = (
        torch.where(own[..., None], unit(full_precision(side), mask), 0.0).flatten(1) for side in (student, teacher)
    )
    places = own.reshape(len(own), -1).to(left.dtype)
    with torch.autocast(student.device.type, enabled=False):
        shared = places @ places.T
        distance = 1.0 - left @ right.T / shared.clamp(min=1.0)
    positive = distance.diagonal()
    alone = torch.eye(len(own), dtype=torch.bool, device=student.device)
    negative = (shared > 0) & ~alone
    further = torch.where(negative, distance - positive[:, None], 0.0).sum(dim=1) / negative.sum(dim=1).clamp(min=1)
    return torch.where(shared.diagonal() > 0, positive + 1.0 - 0.5 * further, 0.0)
