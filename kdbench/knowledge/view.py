"""What is seen of a layer's tokens: all of them, the first, their mean, or the means of spans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from kdbench.outputs import ModelOutputs, Taps

View = Literal["tokens", "cls", "mean", "spans"]
VIEWS = ("tokens", "cls", "mean", "spans")
SPAN_LENGTH = 4


def view_taps(view: View, layers: Iterable[int]) -> Taps:
    """What must be captured for a view of these layers: no more than it sees of them."""
    read = frozenset(layers)
    if view == "cls":
        return Taps(cls=read)
    return Taps(mean=read) if view == "mean" else Taps(hidden=read)


def see(view: View, outputs: ModelOutputs, layer: int, span_length: int = SPAN_LENGTH) -> Tensor:
    """A view of a layer's output.

    Args:
        view: `tokens` as they are, `cls` the first token, `mean` over the real tokens, `spans` the means of
            consecutive pieces of `span_length` tokens, counted from the first token (the paper's phrases, Liu et al.
            2022, need a chunker).
        outputs: of the model, filled as `view_taps` says.
        layer: 0 for the embedding output.
        span_length: tokens a span.

    Returns:
        (B, S, D), (B, D), (B, D) or (B, ceil(S / span_length), D).
    """
    if view == "cls":
        return outputs.cls[layer]
    if view == "mean":
        return outputs.mean[layer]
    hidden = outputs.hidden[layer]
    if view == "tokens":
        return hidden
    weights = _pieces(outputs.mask[:, :, None].to(hidden.dtype), span_length)
    sums = _pieces(hidden * outputs.mask[:, :, None], span_length).sum(dim=2)
    return sums / weights.sum(dim=2).clamp(min=1.0)


def seen(view: View, tokens: Tensor, span_length: int = SPAN_LENGTH) -> Tensor | None:
    """Which places of a view hold real tokens: (B, S) or (B, spans); None for a view without places."""
    if view == "tokens":
        return tokens
    if view == "spans":
        return _pieces(tokens[:, :, None], span_length).any(dim=2).squeeze(-1)
    return None


def _pieces(values: Tensor, length: int) -> Tensor:
    """(B, S, D) -> (B, pieces, length, D), filled up with zeros."""
    batch, tokens, width = values.shape
    missing = -tokens % length
    if missing:
        values = functional.pad(values, (0, 0, 0, missing), value=False if values.dtype == torch.bool else 0.0)
    return values.reshape(batch, -1, length, width)
