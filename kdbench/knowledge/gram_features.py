"""Products between features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kdbench.knowledge.base import refuse_unequal_widths
from kdbench.knowledge.states import States
from kdbench.knowledge.view import SPAN_LENGTH, seen
from kdbench.masking import full_precision
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
        places = seen(self.view, tokens, self.span_length)
        assert places is not None
        real = torch.where(places[:, :, None], full_precision(values), 0.0)
        with torch.autocast(values.device.type, enabled=False):
            return real.transpose(1, 2) @ real / places.sum(dim=1).clamp(min=1)[:, None, None], None

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_unequal_widths("gram_features", student, teacher, projected)
