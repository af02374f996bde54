"""The better a teacher knows a row, the more it counts there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdbench.combiner.base import Combiner, Lesson, gold_loss
from kdbench.outputs import Taps
from kdbench.sampling.base import Draws
from kdbench.shape import Shape
from kdbench.value import choice

VERSION = 1


class InverseLoss(Combiner):
    """The sum over the teachers of their losses, each times 1 / (1 + L_i) with L_i the teacher's own loss on the row's
    gold label (MT-BERT, Wu et al. 2021): in (0, 1], 1 for a perfect teacher and for a row without a label.

    Of a regression, which the paper does not have, L_i is the squared error.

    Args:
        draws, shapes: see `Combiner`; the distribution is not used.
        weighs: `logits`, the terms of logits alone, and sums the others plainly, as the paper does; `all`: every term.
    """

    def __init__(self, draws: Draws, shapes: Sequence[Shape], weighs: Literal["logits", "all"] = "logits") -> None:
        choice("combiner.weighs", weighs, ("logits", "all"))
        super().__init__(draws, shapes)
        self.weighs = weighs

    @classmethod
    def taps(cls, member: int, shape: Shape) -> Taps:
        return Taps(logits=True)

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        losses = torch.stack([gold_loss(outputs) for outputs in lesson.said.values()])
        return 1.0 / (1.0 + losses) if self.weighs == "all" or kind == "logits" else torch.ones_like(losses)
