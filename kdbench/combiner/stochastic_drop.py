"""Teachers that are left out at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdbench import counter
from kdbench.combiner.base import Combiner, Lesson
from kdbench.error import KdbenchError
from kdbench.outputs import Taps
from kdbench.sampling.base import Draws, Moment
from kdbench.shape import Shape
from kdbench.value import share

VERSION = 1


class StochasticDrop(Combiner):
    """The sum of the losses against the teachers that survive a step (DGKD, Son et al. 2021), each with the same
    probability; where none does, what is left is the labels.

    Args:
        draws, shapes: see `Combiner`; the distribution is not used, its seed is.
        survival: the probability, above 0.
    """

    student_taps = Taps(logits=True)

    def __init__(self, draws: Draws, shapes: Sequence[Shape], survival: float = 0.75) -> None:
        share("combiner.survival", survival)
        if survival == 0.0:
            raise KdbenchError("combiner.survival=0 would drop every teacher: set it above 0")
        super().__init__(draws, shapes)
        self.survival = survival

    def asked(self, moment: Moment) -> Sequence[int]:
        members = np.arange(len(self.draws))
        steps = np.full_like(members, moment.progress.step)
        alive = counter.uniform(self.draws.seed, steps, members) < self.survival
        return [int(member) for member in members[alive]]

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        return torch.ones(len(lesson.said), lesson.rows, device=lesson.student.mask.device)
