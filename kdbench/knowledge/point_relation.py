"""Relations between points: tokens, spans, layers or samples."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.knowledge.geometry import split_heads
from kdbench.knowledge.relation import refuse_indivisible
from kdbench.knowledge.states import States
from kdbench.knowledge.view import SPAN_LENGTH, View, seen
from kdbench.masking import full_precision
from kdbench.matching.base import Pairs
from kdbench.shape import Shape
from kdbench.value import choice, whole

Over = Literal["tokens", "spans", "layers", "samples"]
OVER = ("tokens", "spans", "layers", "samples")


class PointRelation(States):
    """How hidden states lie to each other; blind to the width they lie in, so that it needs no projection.

    Args:
        over: what the points are: the `tokens` of a layer; its `spans`; the matched `layers` of a token, which are
            compared jointly, once; or the `samples` of a batch, each by its view. Over samples a loss depends on the
            batch: on its size, on who is in it, and on the accumulation and the devices that divide it.
        embeddings: the embedding outputs too, as the pair (0, 0) or as one more of the layers.
        view: of a sample: `mean` over its real tokens, or `cls` (at layer 0 the same for all samples).
        span_length: tokens a span.
        heads: split the width into that many and relate within each (Liu et al. 2022: 64).
    """

    name: ClassVar[str]
    least_layers: ClassVar[int] = 2
    """Without so many layers there is no relation between layers."""

    def __init__(
        self,
        over: Over = "tokens",
        embeddings: bool = True,
        view: Literal["mean", "cls"] = "mean",
        span_length: int = SPAN_LENGTH,
        heads: int = 1,
    ) -> None:
        choice("knowledge.over", over, OVER)
        choice("knowledge.view", view, ("mean", "cls"))
        whole("knowledge.heads", heads)
        seen_as: dict[Over, View] = {"samples": view, "spans": "spans"}
        super().__init__(embeddings, seen_as.get(over, "tokens"), span_length)
        self.over, self.heads = over, heads
        self.joint, self.in_batch = over == "layers", over == "samples"

    @abstractmethod
    def relation(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared of points (B, G, N, D), of which the mask (B, G, N) exist: (B, G, N, ...) and its mask."""

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        points, mask = split_heads(*self._points(full_precision(values), tokens), self.heads)
        with torch.autocast(values.device.type, enabled=False):  # a difference of half-precision states is mostly noise
            relation, mask = self.relation(points, mask)
        if self.over == "samples":  # (1, G, B, ...): the first of the related samples is the one that the loss is of
            return relation[0].movedim(1, 0), mask[0].movedim(1, 0)
        return relation, mask

    def pairs(self, pairs: Pairs) -> Pairs:
        pairs = super().pairs(pairs)
        if self.joint and len(pairs) < self.least_layers:
            raise ImpossibleError(
                f"knowledge={self.name} with over=layers relates at least {self.least_layers} layers to each other, "
                f"but it is given {len(pairs)}: choose matching=uniform, a deeper student, or knowledge.over=tokens"
            )
        return pairs

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_indivisible(self.name, self.heads, student, teacher)
        if projected and self.heads > 1:
            raise ImpossibleError(
                f"knowledge={self.name} with heads={self.heads} splits the models' own widths, which it need not make "
                "equal: choose projection=identity, or set knowledge.heads=1"
            )

    def _points(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What is related as (B, G, N, D) and (B, G, N): N points in each of G groups."""
        if self.over == "samples":
            return values[None, None], torch.ones_like(tokens[:, 0])[None, None]
        if self.over == "layers":  # (B, L, S, D)
            return values.transpose(1, 2), tokens[:, :, None].expand(-1, -1, values.shape[1])
        existing = seen(self.view, tokens, self.span_length)
        assert existing is not None
        return values[:, None], existing[:, None]
