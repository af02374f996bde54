"""Means, lengths and distributions over the valid elements of a tensor, so that no loss ever depends on padding.

An element mask is boolean and broadcasts against the tensor it belongs to; None means that every element counts.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "sum"]


def full_precision(values: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is: under autocast a loss would keep three digits only."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def per_sample(values: Tensor, mask: Tensor | None, reduction: Reduction = "mean") -> Tensor:
    """The mean or the sum of each sample's valid elements: (B, ...) and a mask of the same rank -> (B,); 0 of none."""
    if reduction == "mean":
        return mean_per_sample(values, mask)
    valid = values if mask is None else torch.where(mask, values, 0.0)
    return valid.reshape(values.shape[0], -1).sum(dim=1)


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


def lengths(values: Tensor, mask: Tensor | None) -> Tensor | int:
    """How many elements of each row of the last axis are valid, at least 1: (B, ...), or one number for all rows."""
    if mask is None or mask.shape[-1] == 1:
        return values.shape[-1]
    return mask.sum(dim=-1).clamp(min=1)


def zeroed(values: Tensor, mask: Tensor | None) -> Tensor:
    """Rows of the last axis whose masked elements are 0; a mean leaves whole masked rows out."""
    return values if mask is None or mask.shape[-1] == 1 else values.masked_fill(~mask, 0.0)


def unit(values: Tensor, mask: Tensor | None = None, least: Tensor | float = 0.0) -> Tensor:
    """Each row of the last axis, over its valid elements, with length 1.

    A row no longer than `least` (broadcastable to (..., 1)) has no direction: it becomes 0, and no gradient reaches it.
    """
    values = zeroed(values, mask)
    squares = values.square().sum(dim=-1, keepdim=True)
    directed = squares > (least**2)
    return torch.where(directed, values * torch.where(directed, squares, 1.0).rsqrt(), 0.0)


def labelled(student: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A regression's output (B, 1) and its labels (B,), NaN where there is none, as two (B, 1) and their mask."""
    mask = ~torch.isnan(labels)[:, None]
    return student, torch.where(mask, labels[:, None], 0.0), mask
