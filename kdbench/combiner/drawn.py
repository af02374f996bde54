"""One teacher of the team, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdbench.combiner.base import Combiner, Lesson
from kdbench.sampling.base import Moment

VERSION = 1


class Drawn(Combiner):
    """Stochastic distillation (SKD, Ding et al. 2023, algorithm 1): at each step one teacher is drawn and teaches.

    In expectation the cross-entropy with soft labels is that of `mean_probabilities`, and the squared error of logits
    has the gradient of `mean_logits`; what is added is noise. With `sampling.granularity=example` every teacher that
    some row has drawn is asked about the whole batch.
    """

    sampled = True

    def asked(self, moment: Moment) -> Sequence[int]:
        return [int(member) for member in np.unique(self.draws.at(moment))]

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        drawn = torch.from_numpy(self.draws.at(lesson.moment)).to(lesson.student.mask.device)
        asked = torch.tensor(list(lesson.said), device=drawn.device)
        return (drawn[None] == asked[:, None]).float()
