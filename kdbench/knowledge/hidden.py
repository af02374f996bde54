"""Hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdbench.knowledge.base import refuse_unequal_widths
from kdbench.knowledge.states import States
from kdbench.knowledge.view import SPAN_LENGTH, VIEWS, View, seen
from kdbench.shape import Shape
from kdbench.value import choice

VERSION = 1


class Hidden(States):
    """The output of a layer: every token (B, S, D), [CLS] or the mean (B, D), or spans; layer 0 is the embeddings'.

    For post-norm encoders such as BERT a layer's output is normalised; a pre-norm model gives its residual stream,
    whose scale differs from layer to layer.

    Args:
        embeddings: also compare the embedding outputs, as the pair (0, 0) (Jiao et al. 2020, eq. 9).
        view: `tokens` (Romero et al. 2015; Jiao et al. 2020), `cls` (Sun et al. 2019, with objective.l2_norm=true),
            `mean` over the real tokens (Haidar et al. 2022), or `spans`.
        span_length: tokens a span.
        layers: `each` compares every pair of layers by itself; `concatenated` puts all matched layers of a side behind
            each other, (B, ..., L D), and compares (and projects) them once (Haidar et al. 2022, RAIL-KD).
    """

    def __init__(
        self,
        embeddings: bool = True,
        view: View = "tokens",
        span_length: int = SPAN_LENGTH,
        layers: Literal["each", "concatenated"] = "each",
    ) -> None:
        choice("knowledge.view", view, VIEWS)
        choice("knowledge.layers", layers, ("each", "concatenated"))
        super().__init__(embeddings, view, span_length)
        self.joint = layers == "concatenated"

    def join(self, layers: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(layers), dim=-1)

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        mask = seen(self.view, tokens, self.span_length)
        return values, None if mask is None else mask[:, :, None]

    def width(self, shape: Shape, layers: int) -> int:
        return shape.width * (layers if self.joint else 1)

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_unequal_widths("hidden", student, teacher, projected)
