"""A linear map."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from kdbench.cmow.classifier.base import FeatureClassifier

VERSION = 1


class Linear(FeatureClassifier):
    """W x + b; of the cosine of two texts it is their scale (Galke et al. 2022 take the bare cosine)."""

    def __init__(self, width: int, paired: Callable[[int], int], block: int | None, outputs: int) -> None:
        super().__init__()
        self.scores = nn.Linear(paired(width), outputs)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.scores(features)
        return scores
