"""Products between features."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from kdbench.fused.gram_mse import gram_distance, narrow
from kdbench.fused.options import changed_options
from kdbench.knowledge.base import Distance, Objective, refuse_unequal_widths
from kdbench.knowledge.states import States
from kdbench.knowledge.view import SPAN_LENGTH, seen
from kdbench.masking import full_precision
from kdbench.objective.mse import mse
from kdbench.shape import Shape
from kdbench.value import choice

VERSION = 1


class GramFeatures(States):
    """H^T H over the real tokens, divided by their number, (B, D, D): which features go together.

    The flow of the solution procedure (Yim et al. 2017; TextBrewer's `fsp` and `gram`) takes two layers of a
    model; here, as in the release of "KD of Transformer-based Language Models Revisited", it is one twice. Blind to the
    order of the tokens.

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

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        real, count = self._real(values, tokens)
        with torch.autocast(values.device.type, enabled=False):
            return real.transpose(1, 2) @ real / count[:, None, None], None

    def fused(self, objective: Objective) -> Distance | None:
        return partial(self._by_tokens, objective) if changed_options(objective, mse) == {} else None

    def _by_tokens(self, objective: Objective, student: Tensor, teacher: Tensor, tokens: Tensor) -> Tensor:
        """The mean squared error, by the S x S side where the tokens are few."""
        if not narrow(student.mT, teacher.mT):
            return self.distance(objective, student, teacher, tokens)
        (ours, count), (theirs, _) = (self._real(side, tokens) for side in (student, teacher))
        return gram_distance(ours.mT, theirs.mT) / (count * student.shape[-1]) ** 2

    def _real(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The states with zeros in place of padding, (B, P, D), and the number of the others, (B,), at least 1."""
        places = seen(self.view, tokens, self.span_length)
        assert places is not None
        return torch.where(places[:, :, None], full_precision(values), 0.0), places.sum(dim=1).clamp(min=1)

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_unequal_widths("gram_features", student, teacher, projected)
