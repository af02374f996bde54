"""Kullback-Leibler divergence over the words, or classes, that a teacher finds likeliest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from kdbench.masking import full_precision, log_softmax, mean_per_sample, rows
from kdbench.temperature import base
from kdbench.temperature.base import Temperature
from kdbench.value import choice, positive, switch, whole

VERSION = 1
COMPARES = frozenset({"logits"})
LEAST_CLASSES = 2
Others = Literal["below", "teacher_min"]
OTHERS = ("below", "teacher_min")


def top_kl(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    top: float = 0.1,
    others: Others = "below",
    temperature: Temperature = 1.0,
    t_squared: bool = True,
) -> Tensor:
    """KL(softmax(teacher / T) || softmax(student / T)), times T^2, over the teacher's `top` scores of each row.

    An option of GLMD's release (Tan et al. 2023); no equation of the paper is known. With `others=below` both sides are
    normalised over the top scores alone, and the student's other scores are pushed under the lowest of its own top
    ones: the mean of what exceeds it, of each row where the release has the mean of the whole batch. With
    `others=teacher_min` all scores are compared, and the teacher's others have all become its lowest.

    Args:
        student, teacher: scores before softmax, (B, C) or (B, ..., C).
        mask: elements that count, broadcastable to the scores; None for all.
        top: up to 1 the share of a row's valid scores, at least one of them; above 1 their number.
        others: what becomes of the scores that are not among them.
        temperature: T > 0; or one for each row, as in `kdbench.objective.kl`.
        t_squared: multiply the divergence by T^2; what exceeds is in the unit of the scores.

    Returns:
        (B,) averaged over the valid rows of each sample.
    """
    student, teacher = full_precision(student), full_precision(teacher)
    valid = torch.ones_like(teacher, dtype=torch.bool) if mask is None else mask.expand_as(teacher)
    kept = likeliest(teacher, valid, top)
    if others == "teacher_min":
        lowest = teacher.masked_fill(~valid, math.inf).amin(dim=-1, keepdim=True)
        teacher, compared = torch.where(kept, teacher, lowest), valid
    else:
        compared = kept
    row = base.of_rows(temperature, student, teacher, mask)
    log_student, log_teacher = (log_softmax(scores / row, compared) for scores in (student, teacher))
    loss = torch.where(compared, log_teacher.exp() * (log_teacher - log_student), 0.0).sum(dim=-1)
    if t_squared:
        loss = loss * base.squared(row)
    if others == "below":
        loss = loss + _excess(student, kept, valid)
    return mean_per_sample(loss, rows(mask))


def likeliest(scores: Tensor, valid: Tensor, top: float) -> Tensor:
    """Which valid scores of each row are among its highest, (B, ..., C); of equal ones the first."""
    counts = valid.sum(dim=-1, keepdim=True)
    wanted = (counts * top).long().clamp(min=1) if top <= 1 else counts.clamp(max=int(top))
    order = scores.masked_fill(~valid, -math.inf).argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.zeros_like(valid).scatter(-1, order, places < wanted) & valid


def _excess(student: Tensor, kept: Tensor, valid: Tensor) -> Tensor:
    """The mean of what a row's other scores have above the lowest of its kept ones, (B, ...)."""
    lowest = student.masked_fill(~kept, math.inf).amin(dim=-1, keepdim=True)
    above = valid & ~kept & (student > lowest)
    total = torch.where(above, student - lowest, 0.0).sum(dim=-1)
    return total / above.sum(dim=-1).clamp(min=1)


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a share or a number of scores that is none, and options of the wrong kind."""
    top = options.get("top", 0.1)
    positive(f"{key}.top", top)
    if top > 1:
        whole(f"{key}.top", top)
    choice(f"{key}.others", options.get("others", "below"), OTHERS)
    base.check(f"{key}.temperature", options.get("temperature", 1.0))
    switch(f"{key}.t_squared", options.get("t_squared", True))
