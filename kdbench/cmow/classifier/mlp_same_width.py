"""Two hidden layers as wide as the features."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from kdbench.cmow.classifier.base import FeatureClassifier, refuse_norm_of_one

VERSION = 1


class MlpSameWidth(FeatureClassifier):
    """Linear, ReLU, Linear, dropout, LayerNorm, Linear (Galke et al. 2022, of fine-tuning after general distillation).

    Args:
        width, paired, block, outputs: see `FeatureClassifier`.
        dropout: between the second map and its norm.
    """

    def __init__(
        self, width: int, paired: Callable[[int], int], block: int | None, outputs: int, dropout: float = 0.2
    ) -> None:
        super().__init__()
        found = paired(width)
        self.first, self.second = nn.Linear(found, found), nn.Linear(found, found)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(found)
        self.scores = nn.Linear(found, outputs)

    @classmethod
    def check(cls, paired: Callable[[int], int], width: int, block: int | None) -> None:
        refuse_norm_of_one(paired(width))

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.norm(self.dropout(self.second(self.first(features).relu()))))
        return scores
