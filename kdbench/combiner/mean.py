"""All teachers at once: their losses, or what they say, averaged or summed."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.combiner.base import Combiner, Lesson

VERSION = 1


class Mean(Combiner):
    """The mean of the losses against each teacher, by the sampling's probabilities where one is chosen (TMKD, Yang et
    al. 2020: even)."""

    sampled = True

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        return self.probabilities(lesson)[:, None].expand(-1, lesson.rows)


class Sum(Combiner):
    """The sum of the losses against each teacher."""

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        return torch.ones(len(lesson.said), lesson.rows, device=lesson.student.mask.device)


class MeanLogits(Combiner):
    """One target: the teachers' logits, averaged by the sampling's probabilities (even where none is chosen)."""

    sampled = True
    merges = True

    def merged(self, lesson: Lesson, logits: Tensor, temperature: float) -> Tensor:
        return torch.einsum("n,n...->...", self.probabilities(lesson), logits)


class MeanProbabilities(MeanLogits):
    """One target: the teachers' soft labels, averaged by the sampling's probabilities (even where none is chosen).

    The target is T log(sum of p_i softmax(z_i / T)), whose softmax at the objective's temperature T is the average. Of
    a regression it is the average of the teachers' values.
    """

    def merged(self, lesson: Lesson, logits: Tensor, temperature: float) -> Tensor:
        if logits.shape[-1] == 1:
            return super().merged(lesson, logits, temperature)
        logged = torch.log_softmax(logits / temperature, dim=-1)
        shares = self.probabilities(lesson).log().view(-1, *[1] * (logits.dim() - 1))
        return temperature * torch.logsumexp(logged + shares, dim=0)
