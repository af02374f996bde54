"""One wide hidden layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from kdbench.cmow.classifier.base import FeatureClassifier

VERSION = 1


class Mlp(FeatureClassifier):
    """Linear, ReLU, LayerNorm, Linear (Galke et al. 2022, of task distillation).

    Args:
        width, paired, block, outputs: see `FeatureClassifier`.
        hidden: units in between.
    """

    def __init__(
        self, width: int, paired: Callable[[int], int], block: int | None, outputs: int, hidden: int = 1000
    ) -> None:
        super().__init__()
        self.hidden, self.norm = nn.Linear(paired(width), hidden), nn.LayerNorm(hidden)
        self.scores = nn.Linear(hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.norm(self.hidden(features).relu()))
        return scores
