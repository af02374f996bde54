"""Cross-entropy with the gold label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from kdbench.value import share

VERSION = 1
COMPARES = frozenset({"classes"})  # gold classes alone stand on the teacher's side


def cross_entropy(student: Tensor, teacher: Tensor, mask: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the student's logits with the gold class; a row without a label (-1) adds nothing.

    Args:
        student: logits (B, C).
        teacher: the labels (B,), which stand in the teacher's place.
        mask: unused; logits have no padding.
        label_smoothing: probability mass spread evenly over the classes.

    Returns:
        (B,) losses in nats.
    """
    del mask
    return functional.cross_entropy(
        student, teacher, ignore_index=-1, reduction="none", label_smoothing=label_smoothing
    )


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a smoothing that is no share below 1."""
    share(f"{key}.label_smoothing", options["label_smoothing"], below=True)
