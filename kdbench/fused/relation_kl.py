"""Divergences between softmax relations, in pieces that leave their gradient behind and no scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kdbench.error import KdbenchError
from kdbench.fused.gradient import scaled
from kdbench.fused.options import changed_options
from kdbench.fused.pieces import SHORTEST, pieces
from kdbench.masking import full_precision
from kdbench.objective.kl import kl
from kdbench.objective.soft_cross_entropy import soft_cross_entropy

OPTIONS = {"temperature", "t_squared", "per_class"}
UNLIKELY = -80.0
"""The logarithm of a probability that is nearly no number in float32. A token is seldom so unlike itself; then the
likeliest key of each row, which takes a pass over the map to find, stands in its place."""


def fused_divergence(objective: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """`relation_kl` with the options of a `kl` or a `soft_cross_entropy`; None for anything else.

    So for a temperature that is no number: an adaptive one looks at all scores, which are never there together.
    """
    for function in (kl, soft_cross_entropy):
        options = changed_options(objective, function)
        if options is not None and set(options) <= OPTIONS and isinstance(options.get("temperature", 1), int | float):
            return partial(relation_kl, crossed=function is soft_cross_entropy, **options)
    return None


def relation_kl(
    student: Tensor,
    teacher: Tensor,
    tokens: Tensor,
    temperature: float = 1.0,
    t_squared: bool = True,
    per_class: bool = False,
    crossed: bool = False,
) -> Tensor:
    """KL(softmax(Y Y^T / sqrt(e) / T) || softmax(X X^T / sqrt(d) / T)), times T^2 (Wang et al. 2020 and 2021, MiniLM).

    The value and the gradient of `kl` after `Relation.relate`, their reference. The S x S scores are there for a piece
    of the batch at a time, cut to its real length; it leaves its losses and (G + G^T) X / sqrt(d) / T, where G is the
    difference of the two softmax. Arithmetic is float32 at least, under autocast too. The gradient is made with the
    value and cannot be differentiated again.

    Args:
        student: X, (B, R, S, d).
        teacher: Y, (B, R, S, e); no gradient reaches it.
        tokens: (B, S), true on real tokens.
        temperature: T > 0.
        t_squared, per_class: as in `kl`.
        crossed: the cross-entropy in place of the divergence, larger by the teacher's entropy.

    Returns:
        (B,) divergences in nats, averaged over the heads and real tokens of each sample.

    Raises:
        KdbenchError: a teacher's side that asks for a gradient.
    """
    if teacher.requires_grad and torch.is_grad_enabled():
        raise KdbenchError("fused relations give the teacher's side no gradient, but it asks for one: detach it, or "
                           "set fused=false")  # fmt: skip
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = full_precision(student), full_precision(teacher)
        counts = tokens.sum(dim=1).clamp(min=1).to(student.dtype)
        rows = student.shape[1] * counts * (counts if per_class else 1.0)
        factors = (temperature**2 if t_squared else 1.0) / rows
        if (missing := SHORTEST - tokens.shape[1]) > 0:
            student, teacher = (functional.pad(side, (0, 0, 0, missing)) for side in (student, teacher))
            tokens = functional.pad(tokens, (0, missing))
        sides = student, teacher, tokens, factors
        return _Divergence.apply(*sides, temperature, crossed)  # type: ignore[no-untyped-call]


class _Divergence(torch.autograd.Function):
    """The sum over the rows of each sample, times its factor."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, tokens: Tensor, factors: Tensor, temperature: float, crossed: bool
    ) -> Tensor:
        gradient = torch.zeros_like(student) if ctx.needs_input_grad[0] else None
        losses = torch.zeros_like(factors)
        # Half of a scale at either side of a product: it is applied to vectors, not to scores.
        ours, theirs = ((side.shape[-1] ** 0.5 * temperature) ** -0.5 for side in (student, teacher))
        for piece in pieces(tokens, student.shape[1]):
            examples = torch.tensor(piece.examples, device=student.device)
            place = examples, piece.heads, slice(piece.length)
            real = tokens[examples, None, : piece.length] if piece.padded else None
            vectors = _zeroed(student[place] * ours, real)
            loss, apart = _compared(vectors, _zeroed(teacher[place] * theirs, real), real, crossed)
            losses.index_add_(0, examples, loss)
            if gradient is not None:
                # As rows of n: heads are narrow, and a processor is slow with matrices of four columns.
                gradient[place] = (vectors.mT @ (apart + apart.mT)).mT
        if gradient is not None:
            ctx.save_for_backward(gradient.mul_(ours * factors[:, None, None, None]))
        return losses * factors

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        return scaled(ctx.saved_tensors[0], grad_output), None, None, None, None, None


def _compared(student: Tensor, teacher: Tensor, real: Tensor | None, crossed: bool) -> tuple[Tensor, Tensor]:
    """The sum of the rows' losses of each example, and by what the softmax of the two sides differ.

    The vectors are (b, r, n, d), with zeros where `real` (b, 1, n) says so: rows without a token are then alike on both
    sides, and no gradient comes of them. For any key k of a row log p_j = s_j - s_k + log p_k, so that no logarithm of
    a map is taken, and near the teacher only small numbers are added up.
    """
    (scores, chosen), (surprise, target) = (_softmax(side, real) for side in (student, teacher))
    of_key = partial(torch.diagonal, dim1=-2, dim2=-1)
    log_chosen, log_target = of_key(chosen).log(), of_key(target).log()
    lowest = torch.minimum(log_chosen, log_target)
    if bool((lowest if real is None else torch.where(real, lowest, 0.0)).min() < UNLIKELY):
        of_key = partial(torch.amax, dim=-1)
        log_chosen, log_target = of_key(chosen).log(), of_key(target).log()
    if crossed:
        of_rows = of_key(scores) - log_chosen
        surprise = scores.neg_()
    else:
        of_rows = (of_key(scores) - of_key(surprise)) - (log_chosen - log_target)
        surprise -= scores
    if real is not None:
        of_rows = torch.where(real, of_rows, 0.0)
    loss = surprise.mul_(target).sum(dim=(1, 2, 3)) + of_rows.sum(dim=(1, 2))
    return loss, chosen.sub_(target)


def _softmax(vectors: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
    """The products of vectors, hopelessly low for keys that are no tokens, and their softmax: (b, r, n, n)."""
    scores = vectors @ vectors.mT
    if real is not None:
        scores += (~real)[:, :, None].to(scores.dtype) * torch.finfo(scores.dtype).min
    return scores, scores.softmax(dim=-1)


def _zeroed(vectors: Tensor, real: Tensor | None) -> Tensor:
    """With nothing where there is no token."""
    return vectors if real is None else torch.where(real[..., None], vectors, 0.0)
