"""Means and distributions over the valid elements of a tensor, so that no loss ever depends on padding.

An element mask is boolean and broadcasts against the tensor it belongs to; None means that every element counts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mean_per_sample(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each sample's valid elements: (B, ...) and a mask of the same rank -> (B,). No valid element: 0."""
    if mask is None:
        return values.reshape(values.shape[0], -1).mean(dim=1)
    mask = mask.expand_as(values)
    total = torch.where(mask, values, 0.0).reshape(values.shape[0], -1).sum(dim=1)
    return total / mask.reshape(values.shape[0], -1).sum(dim=1).clamp(min=1)


def log_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """log-softmax over the last axis in which masked elements have no probability (their entry is a large negative)."""
    if mask is not None and mask.shape[-1] > 1:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.log_softmax(dim=-1)


def rows(mask: Tensor | None) -> Tensor | None:
    """The mask of whole distributions: a row of the last axis is valid where any of its elements is."""
    return None if mask is None else mask.any(dim=-1)
