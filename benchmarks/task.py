"""What both sides of a comparison are given: sizes, data, losses and an optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.models import STUDENT, TEACHER, Size
from benchmarks.rows import LAWS, rows_of
from kdbench.data.split import Split

LEARNING_RATE, WEIGHT_DECAY, WARM_UP_SHARE, CLIP_NORM = 5e-5, 0.01, 0.1, 1.0
PADDING_ID = 0

Gradient = tuple[float, Tensor]
"""A loss, and the gradient of all the student's weights in one vector."""


@dataclass(frozen=True)
class Task:
    """A sweep over temperatures, students of 3 layers and width 192, rows with lengths like SST-2's training phrases.

    The losses: cross-entropy with the label and with the teacher's softened answer (times T^2); where `full`, also the
    mean squared error of 4 projected hidden states (the embeddings' among them) and of 3 attention maps.
    """

    students: int
    epochs: int
    rows: int
    batch_size: int = 32
    teacher: Size = TEACHER
    full: bool = True

    @property
    def split(self) -> Split:
        return rows_of(LAWS["SST-2 train"].lengths(self.rows))

    @property
    def steps(self) -> int:
        """Of one student."""
        return self.epochs * -(-self.rows // self.batch_size)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The student's layers and the teacher's that they meet, without the embeddings."""
        ours, theirs = STUDENT[0], self.teacher[0]
        return [(layer, layer * theirs // ours) for layer in range(1, ours + 1)]

    @staticmethod
    def temperature(student: int) -> float:
        return 1.0 + student


def equal_rows(rows: int = 8, length: int = 24) -> Split:
    """Rows of one length: some toolkits average a loss over a batch's tokens, others over each row's, and only here
    the two are the same."""
    return rows_of(np.full(rows, length))


def fused_adamw(named: Iterable[tuple[str, torch.nn.Parameter]], lr: float = LEARNING_RATE) -> torch.optim.Optimizer:
    """The optimizer of a toolkit that is given one: matrices decay, vectors do not, as in kdbench."""
    weights = [weight for _, weight in named]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1]},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=WEIGHT_DECAY, fused=True)


def gradient_of(loss: Tensor, model: torch.nn.Module) -> Gradient:
    """Go backward from a loss and collect what arrived, in the order of the weights."""
    loss.backward()  # type: ignore[no-untyped-call]
    parts = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return float(loss.detach()), torch.cat(parts)
