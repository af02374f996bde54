"""An LSTM over the tokens, both ways."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdbench.cmow.classifier.base import FeatureClassifier

VERSION = 1


class BiLstm(FeatureClassifier):
    """The last states of an LSTM over the tokens' states and of one from the last token back, then ReLU and two linear
    maps (Galke et al. 2022).

    Of two texts that are read apart each has its last states, which are then combined. The release combines the
    states of their tokens place by place, whatever stands there, and reads the outcome.

    Args:
        width, paired, block, outputs: see `FeatureClassifier`; `width` is that of a token's state.
        hidden: units each way; None: as many as a token's state has numbers.
        dropout: between the two maps.
    """

    of_tokens = True

    def __init__(
        self,
        width: int,
        paired: Callable[[int], int],
        block: int | None,
        outputs: int,
        hidden: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = width if hidden is None else hidden
        self.ahead, self.back = (nn.LSTM(width, hidden, batch_first=True) for _ in range(2))
        self.first, self.dropout = nn.Linear(paired(2 * hidden), hidden), nn.Dropout(dropout)
        self.scores = nn.Linear(hidden, outputs)

    def read(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D) and (B, S), real tokens first -> (B, 2 `hidden`); padding is never read."""
        last = mask.sum(dim=1).clamp(min=1) - 1
        places = (last[:, None] - torch.arange(mask.shape[1], device=mask.device)).clamp(min=0)
        rows = torch.arange(len(mask), device=mask.device)
        turned = states[rows[:, None], places]
        return torch.cat([lstm(values)[0][rows, last] for lstm, values in
                          ((self.ahead, states), (self.back, turned))], dim=-1)  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.dropout(self.first(features.relu())))
        return scores
