"""Correlation distance."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.masking import full_precision, lengths, mean_per_sample, rows, unit, zeroed

VERSION = 1
COMPARES = frozenset({"logits", "tensors", "probabilities"})  # a single value has no correlation
LEAST_CLASSES = 3  # two points always lie on a line: the correlation is 1 or -1, and flat
ROUNDING = 16.0  # units in the last place of a row's length: what is left of a constant row after its mean is taken off


def pearson(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - corr(student, teacher) over the last axis (Huang et al. 2022, DIST), blind to shift and positive scale.

    Only the inter-class half of DIST, and on what the term hands over (DIST correlates probabilities, its intra-class
    half the columns of a batch). Computed as half the squared distance of the standardised rows, which is the same and
    never negative. A row that is constant has no correlation: it counts as the zero vector, so that it loses nothing
    where both sides are constant, 1/2 where one is, and gets no gradient.

    Args:
        student, teacher: (B, C) or (B, ..., D), three elements or more in a row.
        mask: elements that count; a masked element is left out of its row.

    Returns:
        (B,) distances in [0, 2], averaged over the valid rows of each sample.
    """
    difference = _standardised(full_precision(student), mask) - _standardised(full_precision(teacher), mask)
    return mean_per_sample(0.5 * difference.square().sum(dim=-1), rows(mask))


def _standardised(values: Tensor, mask: Tensor | None) -> Tensor:
    """Rows of the last axis with mean 0 and length 1 over their valid elements."""
    values = zeroed(values, mask)
    count = lengths(values, mask)
    count = count if isinstance(count, int) else count[..., None]
    centred = values - values.sum(dim=-1, keepdim=True) / count
    rounding = ROUNDING * torch.finfo(values.dtype).eps * values.detach().norm(dim=-1, keepdim=True)
    return unit(centred, mask, least=rounding)
