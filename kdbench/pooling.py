"""One vector for a row of tokens."""

from __future__ import annotations

from torch import Tensor


def first(hidden: Tensor) -> Tensor:
    """The first token's state, which is [CLS] for BERT: (B, S, D) -> (B, D)."""
    return hidden[:, 0]


def mean(hidden: Tensor, tokens: Tensor) -> Tensor:
    """The mean of the states of the real tokens: (B, S, D) and (B, S) -> (B, D)."""
    weights = tokens[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
