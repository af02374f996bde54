"""A linear map of normed features."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from kdbench.cmow.classifier.base import FeatureClassifier, refuse_norm_of_one

VERSION = 1


class LinearProbe(FeatureClassifier):
    """LayerNorm, then W x + b (Galke et al. 2022).

    Args:
        width, paired, block, outputs: see `FeatureClassifier`.
        positive_scores: a ReLU on the scores, as the release has it: no class can have less than 0.
    """

    def __init__(
        self,
        width: int,
        paired: Callable[[int], int],
        block: int | None,
        outputs: int,
        positive_scores: bool = False,
    ) -> None:
        super().__init__()
        self.norm, self.positive_scores = nn.LayerNorm(paired(width)), positive_scores
        self.scores = nn.Linear(paired(width), outputs)

    @classmethod
    def check(cls, paired: Callable[[int], int], width: int, block: int | None) -> None:
        refuse_norm_of_one(paired(width))

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.norm(features))
        return scores.relu() if self.positive_scores else scores
