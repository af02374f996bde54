"""Products between features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from kdbench.knowledge.base import Knowledge, refuse_unequal_widths, with_embeddings
from kdbench.knowledge.view import SPAN_LENGTH, see, seen
from kdbench.masking import full_precision
from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.value import choice, switch, whole

VERSION = 1


class GramFeatures(Knowledge):
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
        switch("knowledge.embeddings", embeddings)
        choice("knowledge.view", view, ("tokens", "spans"))
        whole("knowledge.span_length", span_length)
        self.embeddings, self.view, self.span_length = embeddings, view, span_length

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(hidden=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        return see(self.view, outputs.hidden[layer], outputs.mask, self.span_length)

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        places = seen(self.view, tokens, self.span_length)
        assert places is not None
        real = torch.where(places[:, :, None], full_precision(values), 0.0)
        with torch.autocast(values.device.type, enabled=False):
            return real.transpose(1, 2) @ real / places.sum(dim=1).clamp(min=1)[:, None, None], None

    def pairs(self, pairs: Pairs) -> Pairs:
        return with_embeddings(pairs) if self.embeddings else pairs

    def width(self, shape: Shape, layers: int) -> int:
        return shape.width

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_unequal_widths("gram_features", student, teacher, projected)
