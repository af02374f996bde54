"""Encodings read as images."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from kdbench.cmow.classifier.base import FeatureClassifier
from kdbench.error import ImpossibleError

VERSION = 1


class Cnn(FeatureClassifier):
    """Every part of the features as a channel of one square image, of which the matrices are one by nature (Galke et
    al. 2022): made four times as large, then three convolutions, a norm, and a linear map. The norm is that of a batch,
    so that in training a row's scores depend on the others, and accumulation is not quite the whole batch.

    Args:
        width, paired, block, outputs: see `FeatureClassifier`.
        dropout: before the last map.
        positive_scores: a ReLU on the scores, as the release has it: no class can have less than 0.
    """

    def __init__(
        self,
        width: int,
        paired: Callable[[int], int],
        block: int | None,
        outputs: int,
        dropout: float = 0.4,
        positive_scores: bool = False,
    ) -> None:
        super().__init__()
        self.check(paired, width, block)
        assert block is not None
        self.channels, self.side, self.positive_scores = paired(width) // block, math.isqrt(block), positive_scores
        more = self.channels + 2
        self.enlarge = nn.ConvTranspose2d(self.channels, self.channels, kernel_size=4, stride=4)
        self.first = nn.Conv2d(self.channels, self.channels, kernel_size=4)
        self.second = nn.Conv2d(self.channels, more, kernel_size=3, stride=2)
        self.third = nn.Conv2d(more, more, kernel_size=3, stride=2)
        self.norm, self.dropout = nn.BatchNorm2d(more), nn.Dropout(dropout)
        last = ((4 * self.side - 4) // 2 - 1) // 2
        self.scores = nn.Linear(more * last**2, outputs)

    @classmethod
    def check(cls, paired: Callable[[int], int], width: int, block: int | None) -> None:
        if block is None or math.isqrt(block) ** 2 != block:
            raise ImpossibleError(
                "student/classifier=cnn reads every part of an encoding as a square, which needs vectors of d x d "
                "numbers: set student.vector_width to student.matrix_width squared"
            )
        if block < 16:
            raise ImpossibleError(
                f"student/classifier=cnn reads images of 4 x 4 numbers or more, and these have {block}: set "
                "student.matrix_width=4 or more"
            )
        if paired(width) % block:
            raise ImpossibleError(
                "student/classifier=cnn reads encodings as squares, of which student.pair=cosine leaves a number: "
                "choose student/classifier=linear"
            )

    def forward(self, features: Tensor) -> Tensor:
        image = self.enlarge(features.view(len(features), self.channels, self.side, self.side)).relu()
        image = self.norm(self.third(self.second(self.first(image))))
        scores: Tensor = self.scores(self.dropout(image.flatten(1)))
        return scores.relu() if self.positive_scores else scores
