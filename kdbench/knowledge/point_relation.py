"""Relations between points: tokens, spans, layers or samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge, with_embeddings
from kdbench.knowledge.geometry import split_heads
from kdbench.knowledge.relation import refuse_indivisible
from kdbench.knowledge.view import SPAN_LENGTH, see, seen
from kdbench.masking import full_precision
from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.value import choice, switch, whole

Over = Literal["tokens", "spans", "layers", "samples"]
OVER = ("tokens", "spans", "layers", "samples")


class PointRelation(Knowledge):
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
        switch("knowledge.embeddings", embeddings)
        choice("knowledge.view", view, ("mean", "cls"))
        whole("knowledge.span_length", span_length)
        whole("knowledge.heads", heads)
        self.over, self.embeddings, self.view, self.span_length, self.heads = over, embeddings, view, span_length, heads
        self.joint, self.in_batch = over == "layers", over == "samples"

    @abstractmethod
    def relation(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared of points (B, G, N, D), of which the mask (B, G, N) exist: (B, G, N, ...) and its mask."""

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(hidden=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        hidden = outputs.hidden[layer]
        if self.over == "spans":
            return see("spans", hidden, outputs.mask, self.span_length)
        return see(self.view, hidden, outputs.mask) if self.over == "samples" else hidden

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        points, mask = split_heads(*self._points(full_precision(values), tokens), self.heads)
        with torch.autocast(values.device.type, enabled=False):  # a difference of half-precision states is mostly noise
            relation, mask = self.relation(points, mask)
        if self.over == "samples":  # (1, G, B, ...): the first of the related samples is the one that the loss is of
            return relation[0].movedim(1, 0), mask[0].movedim(1, 0)
        return relation, mask

    def pairs(self, pairs: Pairs) -> Pairs:
        pairs = with_embeddings(pairs) if self.embeddings else pairs
        if self.joint and len(pairs) < self.least_layers:
            raise ImpossibleError(
                f"knowledge={self.name} with over=layers relates at least {self.least_layers} layers to each other, "
                f"but it is given {len(pairs)}: choose matching=uniform, a deeper student, or knowledge.over=tokens"
            )
        return pairs

    def width(self, shape: Shape, layers: int) -> int:
        return shape.width

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
        existing = seen(self.over, tokens, self.span_length)
        assert existing is not None
        return values[:, None], existing[:, None]
