"""Weights over the teacher's layers that are trained with the student."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdbench.matching.base import Matching, Pairs, grid
from kdbench.matching.pairing import Pairing, Reduction, WeightedPairing
from kdbench.value import positive

VERSION = 1


class Learned(Matching):
    """Every student layer meets every teacher layer, by a softmax of scores that are trained with the student.

    The weights begin equal. They descend on the loss that they weigh, and so move to the teacher layer that is easiest
    to imitate, not to the one that teaches most: expect a collapse onto it.

    Args:
        scale: weights = softmax(scale * scores). An optimizer such as AdamW moves every parameter by about its
            learning rate a step, which is made for a model's weights and would leave the layers' equal.
    """

    fixed = False

    def __init__(self, scale: float = 100.0) -> None:
        positive("matching.scale", scale)
        self.scale = scale

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        return grid(student_layers, teacher_layers)

    def pairing(self, pairs: Pairs, reduction: Reduction, seed: int) -> Pairing:
        return LearnedPairing(pairs, reduction, self.scale)


class LearnedPairing(WeightedPairing):
    """A trained score a pair; the softmax over each student layer's."""

    def __init__(self, pairs: Pairs, reduction: Reduction = "sum", scale: float = 1.0) -> None:
        super().__init__(pairs, reduction)
        self.scale = scale
        self.scores = nn.Parameter(torch.zeros(len(self.places)))  # one axis: no weight decay pulls them back

    def weights(self, distances: Tensor) -> Tensor:
        return (self.scale * self.scores).reshape(self.layers, -1).softmax(dim=1).flatten()
