"""Cross-entropy with the gold label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from kdbench.head import ABSENT
from kdbench.value import share

VERSION = 1
COMPARES = frozenset({"classes"})  # gold classes alone stand on the teacher's side


def cross_entropy(student: Tensor, teacher: Tensor, mask: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the student's logits with the gold class; a row without a label (-1) adds nothing.

    Args:
        student: logits (B, C); or K of them a row, (B, K, C).
        teacher: the labels (B,), or (B, K), which stand in the teacher's place.
        mask: unused; what is no class of a row has the score `kdbench.head.ABSENT`.
        label_smoothing: probability mass spread evenly over the classes that a row has.

    Returns:
        (B,) losses in nats; of K labels a row their mean.
    """
    del mask
    logits, gold = student.flatten(0, -2), teacher.flatten()
    losses = functional.cross_entropy(logits, gold, ignore_index=-1, reduction="none")
    if label_smoothing:
        there = logits > ABSENT / 2
        even = -logits.log_softmax(dim=-1).where(there, 0.0).sum(dim=-1) / there.sum(dim=-1)
        losses = (1.0 - label_smoothing) * losses + label_smoothing * even.where(gold >= 0, 0.0)
    return losses if teacher.dim() == 1 else losses.view(teacher.shape).mean(dim=1)


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a smoothing that is no share below 1."""
    share(f"{key}.label_smoothing", options["label_smoothing"], below=True)
