"""Objectives between the vocabulary logits of two models, without the logits of all places."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from kdbench.decoder import Decoder, Words
from kdbench.fused.options import changed_options
from kdbench.fused.word_chunks import by_chunks
from kdbench.fused.word_losses import Differentiated, Divergence
from kdbench.fused.word_mse import pays, word_squared_error
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy

Objective = Callable[..., Tensor]
DIVERGENCE_OPTIONS = {"temperature", "t_squared", "per_class"}
MSE_OPTIONS = {"temperature", "reduction"}


def fused_distance(objective: Objective, student: Words, teacher: Words, tokens: Tensor) -> Tensor:
    """The objective between each place's scores, (B,): by its own function if it has one, or by autograd in chunks.

    Args:
        objective: of rows, (N, V) and (N, V) -> (N,).
        student, teacher: the same places.
        tokens: unused; the places are real tokens.
    """
    del tokens
    teacher = teacher.beside(student)
    for function in (kl, soft_cross_entropy):
        if (options := _options(objective, function, DIVERGENCE_OPTIONS)) is not None:
            return student.per_sample(_divergence(student, teacher, function is soft_cross_entropy, **options))
    options = _options(objective, mse, MSE_OPTIONS)
    widths = student.inputs.shape[1], teacher.inputs.shape[1]
    if options is not None and pays(len(student.inputs), *widths):
        return student.per_sample(_squared_error(student, teacher, **options))
    rows = Differentiated(teacher.inputs, teacher.decoder, partial(_by_rows, objective))
    return student.per_sample(by_chunks(student.inputs, student.decoder, rows, student.shares))


def _options(objective: Objective, function: Objective, known: set[str]) -> dict[str, Any] | None:
    """The options of an objective that is that function; None if it is not, or has one that is not known or is no
    number: an adaptive temperature looks at all scores."""
    options = changed_options(objective, function)
    if options is None or set(options) - known or not isinstance(options.get("temperature", 1), int | float):
        return None
    return options


def _divergence(
    student: Words,
    teacher: Words,
    crossed: bool,
    temperature: float = 1.0,
    t_squared: bool = True,
    per_class: bool = False,
) -> Tensor:
    """Temperatures divide what is put into the decoders, which is narrow, and not what comes out of them."""
    ours, theirs = _cooled(student, temperature), _cooled(teacher, temperature)
    factor = (temperature**2 if t_squared else 1.0) / (len(student.decoder.weight) if per_class else 1)
    return by_chunks(*ours, Divergence(*theirs, crossed=crossed), factor * student.shares)


def _cooled(words: Words, temperature: float) -> tuple[Tensor, Decoder]:
    if temperature == 1.0:
        return words.inputs, words.decoder
    bias = words.decoder.bias
    cooled = Decoder(words.decoder.weight, None if bias is None else bias / temperature)
    return words.inputs / temperature, cooled


def _squared_error(student: Words, teacher: Words, temperature: float = 1.0, reduction: str = "mean") -> Tensor:
    errors = word_squared_error(student.inputs, student.decoder, teacher.inputs, teacher.decoder)
    words = len(student.decoder.weight) if reduction == "mean" else 1
    return errors * student.shares / (words * temperature**2)


def _by_rows(objective: Objective, student: Tensor, teacher: Tensor) -> Tensor:
    return objective(student, teacher, None)
