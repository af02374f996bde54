"""Mean squared error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kdbench.masking import Reduction, full_precision, labelled, per_sample, unit
from kdbench.value import choice, number, positive, switch

VERSION = 1


def mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    l2_norm: bool = False,
    teacher_scale: float = 1.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean over a sample's valid elements of (student - teacher)^2 (Romero et al. 2015; Jiao et al. 2020, eq. 7 to 9).

    With `l2_norm` and `reduction=sum` this is PKD's distance of normalised vectors, 2 - 2 cos (Sun et al. 2019,
    section 3.2); with a scheduled `teacher_scale` the first stage of Annealing-KD (Jafari et al. 2021).

    Args:
        student, teacher: tensors of one shape, (B, ...), or a regression's output (B, 1) and its labels (B,).
        mask: elements that count, broadcastable to the tensors; None for all. A NaN label adds nothing.
        l2_norm: first give every row of the last axis, over its valid elements, the length 1.
        teacher_scale: a factor of the teacher's side, after the normalisation.
        temperature: both sides are divided by it.
        reduction: over a sample's elements: `mean`, or `sum` (RAIL-KD), which grows with their number.

    Returns:
        (B,) losses in the square of the tensors' unit.
    """
    student, teacher = full_precision(student), full_precision(teacher)
    if teacher.dim() == 1:
        student, teacher, mask = labelled(student, teacher)
    if l2_norm:
        student, teacher = unit(student, mask), unit(teacher, mask)
    difference = student - (teacher if teacher_scale == 1.0 else teacher_scale * teacher)
    loss = per_sample(difference.square(), mask, reduction)
    return loss if temperature == 1.0 else loss / temperature**2


def compares(options: Mapping[str, Any]) -> frozenset[str]:
    """Anything but classes; normalised, a single value would be 1 or -1 and teach nothing."""
    always = frozenset({"logits", "tensors", "probabilities"})
    return always if options.get("l2_norm", False) else always | {"values"}


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse options of the wrong kind, and a temperature that is no number greater than 0."""
    switch(f"{key}.l2_norm", options.get("l2_norm", False))
    number(f"{key}.teacher_scale", options.get("teacher_scale", 1.0))
    positive(f"{key}.temperature", options.get("temperature", 1.0))
    choice(f"{key}.reduction", options.get("reduction", "mean"), ("mean", "sum"))
