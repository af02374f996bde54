"""Colder where the student is unsure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdbench.masking import log_softmax
from kdbench.temperature import base as spread

VERSION = 1
IN_BATCH = True
EPSILON = 1e-3


def cwsm(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    base: float = 4.0,
    beta: float = 1.0,
    least: float = 0.1,
) -> Tensor:
    """base + beta * (mean(w) - w), w = 1 / (max softmax(student) + 0.001) (Wen et al. 2019, arXiv 1911.07471).

    The confidence weights of that paper in TextBrewer's form: w lies between 1 and the number of classes. The mean runs
    over the valid rows of the batch, so that samples mix and a lone row has the base; no gradient flows through it. A
    floor keeps temperatures positive, which TextBrewer has not.

    Args:
        student: scores (B, C) or (B, ..., C).
        teacher: unused.
        mask: elements that count.
        base: the temperature of a row of average confidence.
        beta: how far temperatures spread.
        least: the floor, > 0.

    Returns:
        One temperature for each row, (B,) or (B, ...).
    """
    del teacher
    with torch.no_grad():
        confidence = log_softmax(student, mask).amax(dim=-1).exp()
        return spread.around(base, 1.0 / (confidence + EPSILON), beta, least, mask)


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse options out of range."""
    spread.check_spread(key, options)
