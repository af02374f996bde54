"""Colder where the student disagrees with the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdbench.masking import unit
from kdbench.temperature import base as spread
from kdbench.value import positive

VERSION = 1
IN_BATCH = True


def flsw(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    base: float = 4.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    least: float = 0.1,
) -> Tensor:
    """base + beta * (mean(w) - w), w = (1 - cos(student, teacher))^gamma (Wen et al. 2019, arXiv 1911.07471).

    The focal-loss style weights of that paper in TextBrewer's form. The mean runs over the valid rows of the batch, so
    that samples mix and a lone row has the base; no gradient flows through it. Differs from TextBrewer: no 1e-4 is
    added to the norms, and a floor keeps temperatures positive.

    Args:
        student, teacher: scores (B, C) or (B, ..., C).
        mask: elements that count.
        base: the temperature of a row whose disagreement is average.
        beta: how far temperatures spread.
        gamma: above 1, small disagreements count less.
        least: the floor, > 0.

    Returns:
        One temperature for each row, (B,) or (B, ...).
    """
    with torch.no_grad():
        agreement = (unit(student, mask) * unit(teacher, mask)).sum(dim=-1)
        disagreement = (1.0 - agreement).clamp(min=0.0) ** gamma
        return spread.around(base, disagreement, beta, least, mask)


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse options out of range."""
    spread.check_spread(key, options)
    positive(f"{key}.gamma", options.get("gamma", 1.0))
