"""Losses of vocabulary logits some places at a time, so that the logits of all places are never there together.

A chunk's logits are made, compared, replaced by their gradient, and used up for the gradients of the head's inputs and
of the decoder before the next chunk's are made: the arithmetic is that of the loss as it is written, and no product is
made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from kdbench.decoder import Decoder
from kdbench.error import KdbenchError
from kdbench.masking import full_precision

CHUNK = 256
"""Places whose logits are there at once: enough for matrix products to run at full speed."""

HELD = 4096
"""The same of another device than a CPU, where small products leave most of it idle: a guess, for none was at hand."""

BLOCK = 2**18
"""Logits of a CPU's passes over a chunk: 1 MiB in float32, so that the passes meet them in a core's cache."""

Compare = Callable[[Tensor, slice], Tensor]
"""(logits (c, V), which of the places they are) -> their losses (c,). It leaves in the logits' place the gradient of
the losses' sum."""


def by_chunks(inputs: Tensor, decoder: Decoder, compare: Compare, shares: Tensor) -> Tensor:
    """The losses of N places, each times its share, with a gradient for the inputs, the decoder's weight and its bias.

    The gradient is made with the value, for losses that are added up with equal factors as in a mean over the batch. If
    a backward pass brings other factors, the chunks are gone through once more. It cannot be differentiated itself.

    Args:
        inputs: of the vocabulary head, (N, D).
        decoder: of V words.
        compare: of a chunk.
        shares: the factor of each place, (N,).

    Returns:
        (N,)
    """
    with torch.autocast(inputs.device.type, enabled=False):
        inputs, weight = full_precision(inputs), full_precision(decoder.weight)
        bias = None if decoder.bias is None else full_precision(decoder.bias)
        return _ByChunks.apply(inputs, weight, bias, compare, shares.to(inputs.dtype))  # type: ignore[no-untyped-call]


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """The decoder's product into memory that is there."""
    if bias is None:
        return torch.mm(inputs, weight.T, out=out)
    return torch.addmm(bias, inputs, weight.T, out=out)


def size_of_chunk(values: Tensor) -> int:
    """How many places are compared at once where these values are."""
    return CHUNK if values.device.type == "cpu" else HELD


def blocks(logits: Tensor) -> Iterator[slice]:
    """The rows of a chunk, some at a time."""
    rows, words = logits.shape
    size = max(1, BLOCK // words) if logits.device.type == "cpu" else rows
    for first in range(0, rows, size):
        yield slice(first, first + size)


class _ByChunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, compare: Compare, shares: Tensor
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight, bias, shares)
        ctx.compare = compare
        losses, ctx.gradients = _go_through(inputs, weight, bias, compare, shares, ctx.needs_input_grad[:3])
        return losses * shares

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise KdbenchError("a fused loss keeps its gradient as numbers, which cannot be differentiated again: set "
                               "fused=false for a gradient of the gradient")  # fmt: skip
        gradients, factor = ctx.gradients, upstream[:1]
        if not bool((upstream == factor).all()):
            inputs, weight, bias, shares = ctx.saved_tensors
            needed = ctx.needs_input_grad[:3]
            _, gradients = _go_through(inputs, weight, bias, ctx.compare, shares * upstream, needed)
            factor = torch.ones_like(factor)
        return *(None if each is None else each * factor.sum() for each in gradients), None, None


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def _go_through(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, compare: Compare, shares: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor, Gradients]:
    """The losses, (N,), and the gradients of their sum, weighed by the shares."""
    size = size_of_chunk(inputs)
    losses = torch.empty_like(shares)
    of_inputs = torch.empty_like(inputs) if needed[0] else None
    of_weight = torch.zeros_like(weight) if needed[1] else None
    of_bias = torch.zeros_like(bias) if needed[2] and bias is not None else None
    held = inputs.new_empty(min(size, len(inputs)), len(weight))
    for first in range(0, len(inputs), size):
        here = slice(first, min(first + size, len(inputs)))
        some, share = inputs[here], shares[here]
        logits = product(some, weight, bias, out=held[: len(some)])
        losses[here] = compare(logits, here)
        # The shares are put to the narrow sides of the products.
        if of_inputs is not None:
            torch.mm(logits, weight, out=of_inputs[here]).mul_(share[:, None])
        if of_weight is not None:
            of_weight.addmm_(logits.T, some * share[:, None])
        if of_bias is not None:
            of_bias.addmv_(logits.T, share)
    return losses, (of_inputs, of_weight, of_bias)
