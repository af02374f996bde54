"""The student's own doubt decides who teaches it: small teachers where it doubts, large ones where it is sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdbench.combiner.base import Combiner, Lesson
from kdbench.error import ImpossibleError
from kdbench.outputs import Taps
from kdbench.sampling.base import Draws
from kdbench.shape import Shape
from kdbench.value import choice

VERSION = 1


class ByUncertainty(Combiner):
    """Teacher adoption of Dynamic KD (Li et al. 2021), by u = H(student's probabilities) / log C in [0, 1].

    `hard`: the rows of a batch are ranked by u and cut into as many equal parts as there are teachers; the most
    uncertain part learns from the first (the smallest) teacher. `soft`: the weight moves from the last to the first
    teacher as u goes from 0 to 1; of two teachers the first weighs u and the second 1 - u, of more than two (which the
    paper does not have) the two neighbours of the place (1 - u)(n - 1) share it. The weights of a row sum to 1.

    Args:
        draws, shapes: see `Combiner`; the distribution is not used.
        mode: hard or soft.
        entropy: with `soft`, of each `sample`, or the mean of the `batch`, as the authors' code has it.
    """

    student_taps = Taps(logits=True)

    def __init__(
        self,
        draws: Draws,
        shapes: Sequence[Shape],
        mode: Literal["hard", "soft"] = "hard",
        entropy: Literal["sample", "batch"] = "sample",
    ) -> None:
        choice("combiner.mode", mode, ("hard", "soft"))
        choice("combiner.entropy", entropy, ("sample", "batch"))
        super().__init__(draws, shapes)
        self.mode, self.entropy = mode, entropy

    @classmethod
    def check(cls, names: Sequence[str], shapes: Sequence[Shape]) -> None:
        if shapes[0].classes == 1 or shapes[0].spans:
            raise ImpossibleError(
                "combiner=by_uncertainty needs classes to be uncertain about, but the task is "
                f"{'one of spans' if shapes[0].spans else 'a regression'}: choose combiner=mean"
            )
        sizes = [shape.layers * shape.width**2 for shape in shapes]
        if sizes != sorted(sizes):
            raise ImpossibleError(
                f"combiner=by_uncertainty asks for a team from small to large, but this one is {', '.join(names)}: "
                "write its members in another order"
            )

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        assert lesson.student.logits is not None
        doubt = uncertainty(lesson.student.logits)
        count = len(lesson.said)
        if self.mode == "hard":
            order = doubt.argsort(descending=True)
            part = torch.arange(len(doubt), device=doubt.device) * count // len(doubt)
            return torch.zeros(count, len(doubt), device=doubt.device).index_put_((part, order), doubt.new_ones(()))
        if self.entropy == "batch":
            doubt = doubt.mean().expand_as(doubt)
        place = (1.0 - doubt) * (count - 1)
        teachers = torch.arange(count, device=doubt.device)[:, None]
        return (1.0 - (place[None] - teachers).abs()).clamp(min=0.0)


def uncertainty(logits: Tensor) -> Tensor:
    """The entropy of softmax(logits) over its greatest value, (B, C) -> (B,), without a gradient."""
    logged = torch.log_softmax(logits.detach().float(), dim=-1)
    entropy = -(logged.exp() * logged).sum(dim=-1)
    return (entropy / math.log(logits.shape[-1])).clamp(0.0, 1.0)
