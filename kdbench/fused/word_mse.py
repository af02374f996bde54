"""The squared error of vocabulary logits, without any logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdbench.decoder import Decoder, gram, pieces
from kdbench.error import KdbenchError
from kdbench.masking import full_precision


def pays(places: int, student: int, teacher: int) -> bool:
    """Whether products of whole decoders are fewer than those of so many places, for heads of these widths."""
    return places * (teacher + 3 * student) > 2 * student * (student + teacher)


def word_squared_error(inputs: Tensor, decoder: Decoder, theirs: Tensor, their_decoder: Decoder) -> Tensor:
    """The sum over all words of (student - teacher)^2 at each place, where the two are vocabulary logits.

    With x, y the heads' inputs, W, U the decoders and d the difference of their biases,

        |W x + d - U y|^2 = x' W'W x - 2 x' W'U y + y' U'U y + 2 d'(W x - U y) + |d|^2,

    in which the products of the decoders are made once a step for all places, and U'U once for a teacher. Near the
    teacher these are small differences of large numbers. Sums over the words are therefore added up in float64 from
    pieces in float32, and all that is no wider than the heads is float64: the gradient, which is as exact as that of
    the logits in float32, costs half as much again. The value keeps 1e-6 of the squared logits and is never below 0.
    It cannot be differentiated again, and no gradient reaches the teacher.

    Args:
        inputs: x, (N, D).
        decoder: W and its bias.
        theirs: y, (N, E).
        their_decoder: U and its bias.

    Returns:
        (N,)
    """
    with torch.autocast(inputs.device.type, enabled=False):
        found: Tensor = _SquaredError.apply(  # type: ignore[no-untyped-call]
            full_precision(inputs),
            full_precision(decoder.weight),
            None if decoder.bias is None else full_precision(decoder.bias),
            full_precision(theirs.detach()),
            their_decoder,
        )
    return found


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, theirs: Tensor, decoder: Decoder
    ) -> Tensor:
        apart = weight.new_zeros(len(weight), 1) if bias is None else bias[:, None].clone()
        if decoder.bias is not None:
            apart -= decoder.bias[:, None]
        x, y = inputs.double(), theirs.double()
        from_theirs = y @ gram(decoder.weight, weight)
        ours_apart, theirs_apart = gram(weight, apart)[:, 0], gram(decoder.weight, apart)[:, 0]
        half = x @ gram(weight, weight) - from_theirs + ours_apart  # of the gradient of the inputs
        ctx.save_for_backward(inputs, weight, theirs, decoder.weight, apart, half)
        found = (x * (half - from_theirs + ours_apart)).sum(dim=1)
        found += (y * (y @ decoder.gram - 2 * theirs_apart)).sum(dim=1) + apart.double().square().sum()
        return found.clamp(min=0.0).to(inputs.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise KdbenchError("a fused loss keeps its gradient as numbers, which cannot be differentiated again: set "
                               "fused=false for a gradient of the gradient")  # fmt: skip
        inputs, weight, theirs, their_weight, apart, half = ctx.saved_tensors
        factors = 2 * upstream.double()[:, None]
        x, y = inputs.double() * factors, theirs.double() * factors
        of_inputs = (half * factors).to(inputs.dtype) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = weight.new_empty(len(weight)) if ctx.needs_input_grad[2] else None
        ours, others = x.T @ inputs.double(), y.T @ inputs.double()
        sums = x.sum(dim=0), y.sum(dim=0)
        for words in pieces(weight):
            w, u, d = weight[words].double(), their_weight[words].double(), apart[words].double()
            if of_weight is not None:
                of_weight[words] = w @ ours - u @ others + d * sums[0]
            if of_bias is not None:
                of_bias[words] = w @ sums[0] - u @ sums[1] + d[:, 0] * factors.sum()
        return of_inputs, of_weight, of_bias, None, None
