"""Products between tokens."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from kdbench.fused.gram_mse import gram_distance, narrow
from kdbench.fused.options import changed_options
from kdbench.knowledge.base import Distance, Objective
from kdbench.knowledge.states import States
from kdbench.knowledge.view import SPAN_LENGTH, seen
from kdbench.masking import full_precision
from kdbench.objective.mse import mse
from kdbench.value import choice

VERSION = 1


class GramTokens(States):
    """H H^T over the tokens, divided by the width, (B, S, S): which tokens go together.

    Neuron selectivity transfer (Huang and Wang 2017, whose kernel is polynomial; TextBrewer's `nst` and `mmd`) takes
    two layers of a model; here, as in the release of "KD of Transformer-based Language Models Revisited", it is one
    twice. Widths may differ, a projection is a choice. Blind to a rotation of all states. With heads, and over other
    points, it is `pairwise_dot`.

    Args:
        embeddings: also compare the embedding outputs, as the pair (0, 0).
        view: `tokens`, or `spans` in their place.
        span_length: tokens a span.
    """

    def __init__(
        self, embeddings: bool = True, view: Literal["tokens", "spans"] = "tokens", span_length: int = SPAN_LENGTH
    ) -> None:
        choice("knowledge.view", view, ("tokens", "spans"))
        super().__init__(embeddings, view, span_length)

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        places = seen(self.view, tokens, self.span_length)
        assert places is not None
        states = full_precision(values)
        with torch.autocast(values.device.type, enabled=False):
            products = states @ states.transpose(1, 2) / states.shape[-1]
        return products, places[:, :, None] & places[:, None, :]

    def fused(self, objective: Objective) -> Distance | None:
        return partial(self._by_features, objective) if changed_options(objective, mse) == {} else None

    def _by_features(self, objective: Objective, student: Tensor, teacher: Tensor, tokens: Tensor) -> Tensor:
        """The mean squared error, by the D x D side where the states are narrow."""
        if not narrow(student, teacher):
            return self.distance(objective, student, teacher, tokens)
        places = seen(self.view, tokens, self.span_length)
        assert places is not None
        ours, theirs = (
            torch.where(places[:, :, None], full_precision(side), 0.0) * side.shape[-1] ** -0.5
            for side in (student, teacher)
        )
        return gram_distance(ours, theirs) / places.sum(dim=1).clamp(min=1) ** 2
